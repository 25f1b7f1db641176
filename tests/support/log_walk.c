/* The thread of the log beside a caller that hands it jobs, for the thread sanitizer.

Writers are started, used, ended or given up at once, and what was written is compared. Run as: log_walk FILE. */

#define _GNU_SOURCE 1

#include "log_writer_thread.c"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { WRITERS = 40, JOBS = 60, JOB_BYTES = 700, ZEROS = 8192 };

static unsigned char content[JOBS * JOB_BYTES];

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* The next job that is done, with the eventfd as the loop uses it. */
static log_job *wait_for_one(log_writer *writer)
{
    log_job *job;
    while ((job = log_writer_take(writer)) == NULL) {
        struct pollfd wanted = {log_writer_eventfd(writer), POLLIN, 0};
        check(poll(&wanted, 1, 60000) == 1, "nothing is told");
        log_writer_heard(writer);
    }
    return job;
}

static void use(const char *path, int number)
{
    static log_job jobs[WRITERS][JOBS + 1]; /* Those of a writer that is given up stay its own. */
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), told = 0;
    log_writer *writer = log_writer_start(&LOG_SYSTEM_CALLS, ZEROS);
    uint64_t filled = 0;
    check(fd >= 0 && writer != NULL, "it does not start");
    int window = number % 4 ? number % 4 : JOBS + 1; /* So many are handed in before one is waited for. */
    for (int i = 0; i < JOBS; i++) {
        log_job *job = &jobs[number][i];
        *job = (log_job){.fd = fd, .data = content + i * JOB_BYTES, .length = JOB_BYTES, .filled = filled};
        job->start = (uint64_t)i * JOB_BYTES;
        log_writer_add(writer, job);
        if (i - told + 1 >= window) {
            log_job *done = wait_for_one(writer);
            check(done == &jobs[number][told++] && !done->error, "another job");
            filled = window == 1 ? done->filled : 0;
        }
    }
    jobs[number][JOBS] = (log_job){.fd = fd};
    log_writer_add(writer, &jobs[number][JOBS]);
    if (number % 5 == 4) {
        log_writer_drop(writer);
        return;
    }
    while (!log_writer_end(writer, 1))
        ;
    for (; told <= JOBS; told++) {
        log_job *done = log_writer_take(writer);
        check(done == &jobs[number][told] && !done->error, "a job is not done");
    }
    check(log_writer_take(writer) == NULL, "a job too many");
    log_writer_drop(writer);
    static unsigned char found[sizeof content];
    fd = open(path, O_RDONLY);
    check(pread(fd, found, sizeof found, 0) == sizeof found, "too little is written");
    check(!memcmp(found, content, sizeof found), "something else is written");
    close(fd);
}

int main(int count, char **words)
{
    char path[4096];
    if (count != 2)
        return 2;
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (unsigned char)(i % 251 + 1);
    for (int number = 0; number < WRITERS; number++) {
        snprintf(path, sizeof path, "%s-%d", words[1], number);
        use(path, number);
    }
    printf("%d writers\n", WRITERS);
    return 0;
}
