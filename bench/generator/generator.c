/* The load of a race: one thread, many connections, over loopback, in memcached's text protocol or in redis' RESP.
 *
 *   generator --ports PORT,... --keys N --value-bytes N --connections N --depth N --seconds S --warm-up S --gets SHARE
 *             [--keys-per-get N] [--owners FILE] [--fill] [--resp] [--seed N]
 *
 * A closed loop: each connection keeps --depth requests under way, and sends the next one when a reply has come. Key n is
 * `key:` and ten digits, and its value follows from n, so every reply is checked byte by byte. Connections are spread over the
 * ports. With --owners (one line for each key: the place of its port in --ports) a connection asks only for keys of its own
 * port, as a client does that knows the cluster; without it any connection asks for any key. --fill stores all keys first;
 * with --seconds 0 it does nothing else.
 *
 * Prints one line of JSON. Status 0: measured, whatever the replies were (they are counted); 1: could not, said why; 2: wrong
 * arguments. Every key is there after the filling, so a miss is counted, and whoever runs this judges it.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FILL_DEPTH = 16, IN_BYTES = 1 << 18, BUCKETS = 64 << 7 };
static const uint64_t SECOND = 1000000000;
static const uint64_t PATIENCE_NS = 10ull * 1000000000; /* for what is under way at the end */
static const uint64_t SILENCE_NS = 30ull * 1000000000;  /* a server that answers nothing while it is filled */

static struct connection *all;
static size_t in_room;
static int epoll_fd;
static uint64_t counts[KINDS][BUCKETS], operations[KINDS], longest[KINDS];
static uint64_t filled, answered, unanswered;

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * SECOND + (uint64_t)at.tv_nsec;
}

/* --- figures */

static unsigned bucket_of(uint64_t value) {
    if (value < 256) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - 7u;
    return (shift << 7) + (unsigned)(value >> shift);
}

static double middle_of(unsigned bucket) {
    if (bucket < 256) return bucket;
    unsigned shift = (bucket >> 7) - 1;
    return ((double)(bucket - (shift << 7)) + 0.5) * (double)(1ull << shift);
}

static double percentile(int kind, double share) {
    uint64_t rank = (uint64_t)(share * (double)operations[kind]), seen = 0;
    for (unsigned at = 0; at < BUCKETS; at++)
        if ((seen += counts[kind][at]) > rank && middle_of(at) < (double)longest[kind]) return middle_of(at);
    return (double)longest[kind];
}

static void record(const struct request *request, uint64_t at_ns) {
    uint64_t took_ns = at_ns - request->sent_ns;
    counts[request->kind][bucket_of(took_ns)]++;
    operations[request->kind]++;
    if (took_ns > longest[request->kind]) longest[request->kind] = took_ns;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void print_number(const char *name, uint64_t number) { printf("\"%s\": %llu, ", name, (unsigned long long)number); }

static void print_kind(const char *name, int kind) {
    printf("\"%s\": {", name);
    print_number("count", operations[kind]);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, ", percentile(kind, .5) / 1e3, percentile(kind, .99) / 1e3);
    printf("\"p999_us\": %.1f, \"max_us\": %.1f}", percentile(kind, .999) / 1e3, (double)longest[kind] / 1e3);
}

static void print_result(double seconds, double load_cpu) {
    printf("{\"seconds\": %.6f, \"load_cpu_seconds\": %.3f, ", seconds, load_cpu);
    print_number("filled", filled);
    print_number("answered", answered);
    print_number("errors", found.errors);
    print_number("wrong", found.wrong);
    print_number("misses", found.misses);
    print_number("unanswered", unanswered);
    print_kind("get", GET);
    printf(", ");
    print_kind("set", SET);
    printf(", \"first_error\": \"%s\"}\n", found.first_error);
}

/* --- connections */

static void open_connection(struct connection *one, int server) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)want.ports[server])};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->server = server;
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one->fd < 0) fail("socket");
    if (connect(one->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    one->requests = reserve(room, sizeof *one->requests);
    one->asked = reserve((size_t)room * (size_t)want.keys_per_get, sizeof *one->asked);
    one->in = reserve(in_room, 1);
    one->out = reserve(room * request_bytes_max(), 1);
    struct epoll_event events = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, one->fd, &events)) fail("epoll");
}

static void send_requests(struct connection *one) {
    while (one->out_sent < one->out_used) {
        ssize_t sent = send(one->fd, one->out + one->out_sent, one->out_used - one->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) fail("send");
        if (sent < 0) break;
        one->out_sent += (size_t)sent;
    }
    int waits = one->out_sent < one->out_used;
    if (waits != one->waits_to_send) {
        struct epoll_event events = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = one};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, one->fd, &events)) fail("epoll");
        one->waits_to_send = waits;
    }
    /* What is not sent is moved to the front, so that there is always room for all that may be under way. */
    if (one->out_sent) memmove(one->out, one->out + one->out_sent, one->out_used - one->out_sent);
    one->out_used -= one->out_sent;
    one->out_sent = 0;
}

/* Replies that have come are checked; `next` (NULL: nothing) asks in their place. `is_counted`: they are part of the figures. */
static void take_replies(struct connection *one, int is_counted, void (*next)(struct connection *, uint64_t)) {
    for (;;) {
        ssize_t got = recv(one->fd, one->in + one->in_used, in_room - one->in_used, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got < 0) fail("recv");
        if (!got) {
            fprintf(stderr, "the server closed a connection\n");
            exit(1);
        }
        size_t room_before = in_room - one->in_used, used = 0, size;
        uint64_t at_ns = now_ns();
        one->in_used += (size_t)got;
        while (one->under_way && !found.broken && (size = read_reply(one, one->in + used, one->in_used - used))) {
            used += size;
            if (is_counted) record(&one->requests[one->head], at_ns);
            one->head = (one->head + 1) % room;
            one->under_way--;
            answered++;
            if (next) next(one, at_ns);
        }
        if (found.broken) return;
        if (!one->under_way && used < one->in_used) {
            found.wrong++;
            found.broken = 1;
            note("a reply that was not asked for", one->in + used, one->in_used - used);
            return;
        }
        memmove(one->in, one->in + used, one->in_used - used);
        one->in_used -= used;
        if ((size_t)got < room_before) break;
    }
    send_requests(one);
}

static void fill_next(struct connection *one, uint64_t at_ns) {
    uint32_t key;
    filled++;
    if (next_to_fill(one, &key)) ask(one, SET, key, at_ns);
}

static uint64_t all_under_way(void) {
    uint64_t sum = 0;
    for (int at = 0; at < want.connections; at++) sum += all[at].under_way;
    return sum;
}

/* One wait for whatever comes, at most until `until_ns`; whether anything did. */
static int turn(uint64_t until_ns, int is_counted, void (*next)(struct connection *, uint64_t)) {
    struct epoll_event events[256];
    uint64_t at_ns = now_ns();
    int wait_ms = until_ns > at_ns ? (int)((until_ns - at_ns) / 1000000 + 1) : 0;
    int ready = epoll_wait(epoll_fd, events, 256, wait_ms);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int at = 0; at < ready && !found.broken; at++) take_replies(events[at].data.ptr, is_counted, next);
    return ready > 0;
}

static void fill(void) {
    uint64_t at_ns = now_ns(), heard_ns = at_ns;
    uint32_t key;
    for (int at = 0; at < want.connections; at++) {
        for (int deep = 0; deep < FILL_DEPTH && next_to_fill(&all[at], &key); deep++) ask(&all[at], SET, key, at_ns);
        send_requests(&all[at]);
    }
    while (all_under_way() && !found.broken) {
        if (turn(heard_ns + SILENCE_NS, 0, fill_next)) heard_ns = now_ns();
        else if (now_ns() >= heard_ns + SILENCE_NS) {
            fprintf(stderr, "no answer for %d s while the keys are stored\n", (int)(SILENCE_NS / SECOND));
            exit(1);
        }
    }
}

/* The figures are those of replies that come within exactly --seconds; what is under way then is awaited and checked. */
static void measure(void) {
    uint64_t at_ns = now_ns(), start_ns = at_ns + (uint64_t)(want.warm_up * 1e9);
    uint64_t end_ns = start_ns + (uint64_t)(want.seconds * 1e9);
    for (int at = 0; at < want.connections; at++) {
        for (int deep = 0; deep < want.depth; deep++) ask_any(&all[at], at_ns);
        send_requests(&all[at]);
    }
    while (now_ns() < start_ns && !found.broken) turn(start_ns, 0, ask_any);
    double cpu = cpu_seconds();
    start_ns = now_ns();
    while (now_ns() < end_ns && !found.broken) turn(end_ns, 1, ask_any);
    at_ns = now_ns();
    cpu = cpu_seconds() - cpu;
    while (all_under_way() && now_ns() < at_ns + PATIENCE_NS && !found.broken) turn(at_ns + PATIENCE_NS, 0, NULL);
    unanswered = found.broken ? 0 : all_under_way();
    print_result((double)(at_ns - start_ns) / 1e9, cpu);
}

/* --- arguments */

static _Noreturn void usage(const char *what) {
    fprintf(stderr, "generator: %s\n", what);
    exit(2);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end, said[160];
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= least && value <= most)) {
        snprintf(said, sizeof said, "--%s %.40s is not in %.0f..%.0f", name, text, least, most);
        usage(said);
    }
    return value;
}

static void read_ports(char *text) {
    for (char *one = strtok(text, ","); one; one = strtok(NULL, ",")) {
        if (want.servers == SERVERS_MAX) usage("too many ports");
        want.ports[want.servers++] = (int)number("ports", one, 1, 65535);
    }
}

static void read_arguments(int count, char **words) {
    enum { PORTS, KEYS, VALUE_BYTES, CONNECTIONS, DEPTH, SECONDS, WARM_UP, GETS, KEYS_PER_GET, OWNERS, FILL, RESP, SEED };
    static const struct option known[] = {
        {"ports", 1, 0, PORTS}, {"keys", 1, 0, KEYS}, {"value-bytes", 1, 0, VALUE_BYTES},
        {"connections", 1, 0, CONNECTIONS}, {"depth", 1, 0, DEPTH}, {"seconds", 1, 0, SECONDS},
        {"warm-up", 1, 0, WARM_UP}, {"gets", 1, 0, GETS}, {"keys-per-get", 1, 0, KEYS_PER_GET},
        {"owners", 1, 0, OWNERS}, {"fill", 0, 0, FILL}, {"resp", 0, 0, RESP}, {"seed", 1, 0, SEED}, {0, 0, 0, 0}};
    int flag, at;
    while ((flag = getopt_long(count, words, "", known, &at)) >= 0) {
        const char *name = flag == '?' ? "" : known[at].name;
        switch (flag) {
        case PORTS: read_ports(optarg); break;
        case KEYS: want.keys = (uint32_t)number(name, optarg, 1, 1e9); break;
        case VALUE_BYTES: want.value_bytes = (size_t)number(name, optarg, 1, 1 << 20); break;
        case CONNECTIONS: want.connections = (int)number(name, optarg, 1, 4096); break;
        case DEPTH: want.depth = (int)number(name, optarg, 1, 1024); break;
        case SECONDS: want.seconds = number(name, optarg, 0, 86400); break;
        case WARM_UP: want.warm_up = number(name, optarg, 0, 86400); break;
        case GETS: want.gets = number(name, optarg, 0, 1); break;
        case KEYS_PER_GET: want.keys_per_get = (int)number(name, optarg, 1, 1000); break;
        case OWNERS: want.owners = optarg; break;
        case FILL: want.fill = 1; break;
        case RESP: want.resp = 1; break;
        case SEED: want.seed = (uint64_t)number(name, optarg, 0, 1e15); break;
        default: exit(2);
        }
    }
    if (optind < count) usage("a word that is no flag");
    if (!want.servers) usage("--ports is missing");
    if (want.connections < want.servers) usage("fewer connections than ports");
    if (want.resp && want.keys_per_get > 1) usage("--keys-per-get is for memcached's protocol");
}

int main(int count, char **words) {
    read_arguments(count, words);
    room = (unsigned)(want.depth > FILL_DEPTH ? want.depth : FILL_DEPTH);
    in_room = IN_BYTES + reply_bytes_max();
    prepare_keys();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) fail("epoll");
    all = reserve((size_t)want.connections, sizeof *all);
    for (int at = 0; at < want.connections; at++) open_connection(&all[at], at % want.servers);
    if (want.fill) fill();
    if (want.seconds > 0 && !found.broken) measure();
    else print_result(0, 0);
    return 0;
}
