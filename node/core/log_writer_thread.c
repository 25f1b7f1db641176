#define _GNU_SOURCE 1

#include "log_writer_thread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10 };

typedef struct {
    log_job *first;
    log_job **last;
} job_queue;

struct log_writer {
    log_calls calls;
    sem_t wanted;         /* once for each job, and for the end */
    pthread_mutex_t lock; /* of what stands from here to `users` */
    pthread_cond_t ended;
    job_queue waiting;
    job_queue done;
    bool is_ending;
    bool has_ended;
    int users; /* the thread, and who started it: the last one frees it all */
    int eventfd;
    pid_t process; /* whose thread it is: a forked process has none */
    size_t zeros_length;
    unsigned char *zeros;
};

static void queue_init(job_queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_add(job_queue *queue, log_job *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static log_job *queue_take(job_queue *queue)
{
    log_job *job = queue->first;
    if (job != NULL && (queue->first = job->next) == NULL)
        queue->last = &queue->first;
    return job;
}

/* --- the calls to the system */

static ssize_t system_pwrite(void *context, int fd, const void *data, size_t length, off_t offset)
{
    (void)context;
    return pwrite(fd, data, length, offset);
}

static ssize_t system_pwritev(void *context, int fd, const struct iovec *parts, int count, off_t offset)
{
    (void)context;
    return pwritev(fd, parts, count, offset);
}

static int system_ftruncate(void *context, int fd, off_t length)
{
    (void)context;
    return ftruncate(fd, length);
}

static int system_fdatasync(void *context, int fd)
{
    (void)context;
    return fdatasync(fd);
}

static int system_close(void *context, int fd)
{
    (void)context;
    return close(fd);
}

static int system_eventfd(void *context)
{
    (void)context;
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

const log_calls LOG_SYSTEM_CALLS = {
    system_pwrite, system_pwritev, system_ftruncate, system_fdatasync, system_close, system_eventfd, NULL,
};

/* --- one append */

/* As `disk_calls.was_refused`: there was not enough of something, and the same call may be made again. */
static bool was_refused(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE || error == ENOMEM
        || error == ENOBUFS || error == EAGAIN;
}

/* An errno, or 0. */
static int write_all(const log_calls *calls, int fd, const unsigned char *data, size_t length, uint64_t offset)
{
    while (length) {
        ssize_t written = calls->pwrite(calls->context, fd, data, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO;
        data += written;
        length -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

/* Write the data, and zeros behind it in the same call unless it is long: see `log_file.ZERO_AHEAD_BYTES`. */
static int write_and_fill(const log_writer *writer, log_job *job)
{
    const log_calls *calls = &writer->calls;
    uint64_t end = job->start + job->length;
    bool is_long = 2 * job->length >= writer->zeros_length;
    size_t rest = (size_t)(end % LOG_BLOCK_BYTES); /* The next fill must not share a block with this one. */
    size_t zeros = is_long || writer->zeros_length < rest ? 0 : writer->zeros_length - rest;
    struct iovec parts[2] = {{(void *)job->data, job->length}, {writer->zeros, zeros}};
    ssize_t written;
    do
        written = calls->pwritev(calls->context, job->fd, parts, 2, (off_t)job->start);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return errno;
    if ((size_t)written < job->length) {
        job->filled = end;
        size_t left = job->length - (size_t)written;
        return write_all(calls, job->fd, job->data + written, left, job->start + (uint64_t)written);
    }
    /* Not all of the zeros went in: good enough, the next append tries again. */
    job->filled = job->start + (uint64_t)written;
    return 0;
}

static int sync_data(const log_calls *calls, int fd)
{
    while (calls->fdatasync(calls->context, fd))
        if (errno != EINTR)
            return errno;
    return 0;
}

static int cut_back(const log_calls *calls, int fd, uint64_t length)
{
    while (calls->ftruncate(calls->context, fd, (off_t)length))
        if (errno != EINTR)
            return errno;
    return 0;
}

static void append(const log_writer *writer, log_job *job)
{
    const log_calls *calls = &writer->calls;
    if (job->start + job->length <= job->filled)
        job->error = write_all(calls, job->fd, job->data, job->length, job->start);
    else
        job->error = write_and_fill(writer, job);
    if (!job->error) {
        /* An error of the sync is never "full": some pages may be written, some dropped, and a second sync
        would report success for the dropped ones. */
        job->error = sync_data(calls, job->fd);
    } else if (was_refused(job->error)) {
        /* The sync of the next append makes the cut durable. Until then a crash may leave any part of the
        data there, which is a torn tail like any other. */
        int failed = cut_back(calls, job->fd, job->start);
        job->was_cut = !failed;
        if (failed)
            job->error = failed;
        job->filled = job->start;
    }
}

/* --- the thread */

static void tell(log_writer *writer)
{
    uint64_t one = 1;
    while (write(writer->eventfd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void free_writer(log_writer *writer)
{
    if (writer->eventfd >= 0)
        close(writer->eventfd);
    pthread_cond_destroy(&writer->ended);
    sem_destroy(&writer->wanted);
    pthread_mutex_destroy(&writer->lock);
    free(writer->zeros);
    free(writer);
}

/* Unlocks, too. */
static void release(log_writer *writer)
{
    bool is_last = !--writer->users;
    pthread_mutex_unlock(&writer->lock);
    if (is_last)
        free_writer(writer);
}

static void *run(void *argument)
{
    log_writer *writer = argument;
    pthread_setname_np(pthread_self(), "quorumcache-log"); /* As long as a name may be. */
    for (;;) {
        while (sem_wait(&writer->wanted))
            ; /* Interrupted. */
        pthread_mutex_lock(&writer->lock);
        log_job *job = queue_take(&writer->waiting);
        if (job == NULL && writer->is_ending)
            break;
        pthread_mutex_unlock(&writer->lock);
        if (job == NULL)
            continue;
        if (job->data != NULL)
            append(writer, job);
        else
            writer->calls.close(writer->calls.context, job->fd);
        pthread_mutex_lock(&writer->lock);
        bool is_first = writer->done.first == NULL;
        queue_add(&writer->done, job);
        pthread_mutex_unlock(&writer->lock);
        if (is_first)
            tell(writer);
    }
    writer->has_ended = true;
    pthread_cond_signal(&writer->ended);
    release(writer);
    return NULL;
}

static bool start_thread(log_writer *writer)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error) {
        errno = error;
        return false;
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* Signals are for the threads of Python. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = error;
    return !error;
}

/* --- the loop's side */

log_writer *log_writer_start(const log_calls *calls, size_t zeros)
{
    log_writer *writer = calloc(1, sizeof *writer);
    pthread_condattr_t attributes;
    if (writer == NULL)
        return NULL;
    writer->calls = *calls;
    writer->zeros_length = zeros;
    writer->zeros = calloc(1, zeros + 1);
    writer->eventfd = writer->calls.eventfd(writer->calls.context);
    writer->process = getpid();
    writer->users = 2;
    queue_init(&writer->waiting);
    queue_init(&writer->done);
    pthread_mutex_init(&writer->lock, NULL);
    sem_init(&writer->wanted, 0, 0);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    if (writer->zeros == NULL || writer->eventfd < 0 || !start_thread(writer)) {
        int error = writer->zeros == NULL ? ENOMEM : errno;
        free_writer(writer);
        errno = error;
        return NULL;
    }
    return writer;
}

int log_writer_eventfd(const log_writer *writer) { return writer->eventfd; }

bool log_writer_is_here(const log_writer *writer) { return writer->process == getpid(); }

void log_writer_add(log_writer *writer, log_job *job)
{
    pthread_mutex_lock(&writer->lock);
    queue_add(&writer->waiting, job);
    pthread_mutex_unlock(&writer->lock);
    sem_post(&writer->wanted);
}

log_job *log_writer_take(log_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    log_job *job = queue_take(&writer->done);
    pthread_mutex_unlock(&writer->lock);
    return job;
}

void log_writer_heard(log_writer *writer)
{
    uint64_t count;
    while (read(writer->eventfd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

void log_writer_tell_again(log_writer *writer) { tell(writer); }

bool log_writer_end(log_writer *writer, unsigned milliseconds)
{
    struct timespec until;
    if (!log_writer_is_here(writer))
        return true;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&writer->lock);
    writer->is_ending = true;
    sem_post(&writer->wanted);
    while (!writer->has_ended)
        if (pthread_cond_timedwait(&writer->ended, &writer->lock, &until))
            break;
    bool has_ended = writer->has_ended;
    pthread_mutex_unlock(&writer->lock);
    return has_ended;
}

void log_writer_drop(log_writer *writer)
{
    if (!log_writer_is_here(writer))
        return;
    pthread_mutex_lock(&writer->lock);
    writer->is_ending = true;
    sem_post(&writer->wanted);
    release(writer);
}
