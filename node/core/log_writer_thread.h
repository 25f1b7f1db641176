/* The thread that writes the log: appends that are synced, in order, beside a loop that never waits for them.

One side makes a job and adds it; the thread does what it says and hands it back, and writes to an eventfd
that the loop watches. Until then the thread alone uses the job and the bytes that it points to. A job that
was handed in is done, also when nobody asks for it any more. */

#ifndef QUORUMCACHE_LOG_WRITER_THREAD_H
#define QUORUMCACHE_LOG_WRITER_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { LOG_BLOCK_BYTES = 4096 };

/* The calls to the system, as errno has them. `context` is for those of a test. */
typedef struct {
    ssize_t (*pwrite)(void *context, int fd, const void *data, size_t length, off_t offset);
    ssize_t (*pwritev)(void *context, int fd, const struct iovec *parts, int count, off_t offset);
    int (*ftruncate)(void *context, int fd, off_t length);
    int (*fdatasync)(void *context, int fd);
    int (*close)(void *context, int fd);
    int (*eventfd)(void *context); /* one that does not wait, closed by an exec */
    void *context;
} log_calls;

extern const log_calls LOG_SYSTEM_CALLS;

typedef struct log_job {
    struct log_job *next;
    /* What to do. No data: the file is closed. */
    int fd;
    const unsigned char *data;
    size_t length;
    uint64_t start;
    uint64_t filled; /* where the zeros end that were written ahead; the answer, too */
    /* How it ended. */
    int error;       /* an errno; 0: the data is durable */
    bool was_cut;    /* there was no room or no resource, and the file was cut back to `start` */
    /* For who made it. */
    void *owner;
    void *told;
} log_job;

typedef struct log_writer log_writer;

/* NULL with errno, if there is no memory, descriptor or thread for it, or a call is forbidden. `zeros`: how many bytes a file is
filled ahead. */
log_writer *log_writer_start(const log_calls *calls, size_t zeros);

/* What becomes readable when jobs are done. */
int log_writer_eventfd(const log_writer *writer);

/* Whether this process has the thread. One that was forked has not, and may only drop the writer: the lock may
be held by nobody. */
bool log_writer_is_here(const log_writer *writer);

void log_writer_add(log_writer *writer, log_job *job);

/* The next job that is done, or NULL. Those of one writer come in order. */
log_job *log_writer_take(log_writer *writer);

/* Forget that the eventfd is readable; before the jobs are taken. */
void log_writer_heard(log_writer *writer);

/* Have the eventfd tell of jobs that are done once more. */
void log_writer_tell_again(log_writer *writer);

/* Let the thread end behind what it has, and wait so long for that. Whether it has ended. */
bool log_writer_end(log_writer *writer, unsigned milliseconds);

/* Give the writer up; the jobs that are done are taken before. A thread that has not ended does what it has
first: those jobs, and what they point to, stay where they are for good. In a process that was forked there is
no thread, and nothing happens. */
void log_writer_drop(log_writer *writer);

#endif
