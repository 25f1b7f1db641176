/* Syncs that hang, to be loaded before the C library (LD_PRELOAD): whoever calls it, Python or C.

A sync of a file waits as long as there is a file `X.stall` beside any directory X that the file is in. */

#define _GNU_SOURCE 1

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool stalls(int fd)
{
    char link[64], path[PATH_MAX], stall[PATH_MAX + 8];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = 0;
    for (char *end; (end = strrchr(path, '/')) != NULL && end != path;) {
        *end = 0;
        snprintf(stall, sizeof stall, "%s.stall", path);
        if (!access(stall, F_OK))
            return true;
    }
    return false;
}

static int sync_slowly(long call, int fd)
{
    while (stalls(fd))
        usleep(5000);
    return (int)syscall(call, fd);
}

int fdatasync(int fd) { return sync_slowly(SYS_fdatasync, fd); }

int fsync(int fd) { return sync_slowly(SYS_fsync, fd); }
