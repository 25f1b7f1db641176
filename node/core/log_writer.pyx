# cython: language_level=3, binding=False
"""`LogWriter` of storage/log_writer.py over log_writer_thread.h: its thread takes no lock of Python."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EIO, ENOMEM, errno
from libc.stdint cimport uint64_t
from posix.types cimport off_t

import os


cdef extern from "log_writer_thread.h" nogil:
    ctypedef struct iovec "struct iovec":
        void *iov_base
        size_t iov_len

    ctypedef struct log_calls:
        Py_ssize_t (*pwrite)(void *, int, const void *, size_t, off_t) noexcept nogil
        Py_ssize_t (*pwritev)(void *, int, const iovec *, int, off_t) noexcept nogil
        int (*ftruncate)(void *, int, off_t) noexcept nogil
        int (*fdatasync)(void *, int) noexcept nogil
        int (*close)(void *, int) noexcept nogil
        int (*eventfd)(void *) noexcept nogil
        void *context

    const log_calls LOG_SYSTEM_CALLS

    ctypedef struct log_job:
        int fd
        const unsigned char *data
        size_t length
        uint64_t start
        uint64_t filled
        int error
        bint was_cut
        void *owner
        void *told

    ctypedef struct log_writer:
        pass

    log_writer *log_writer_start(const log_calls *calls, size_t zeros)
    int log_writer_eventfd(const log_writer *writer)
    bint log_writer_is_here(const log_writer *writer)
    void log_writer_add(log_writer *writer, log_job *job)
    log_job *log_writer_take(log_writer *writer)
    void log_writer_heard(log_writer *writer)
    void log_writer_tell_again(log_writer *writer)
    bint log_writer_end(log_writer *writer, unsigned milliseconds)
    void log_writer_drop(log_writer *writer)


cdef extern from *:
    """
    #define set_errno(code) (errno = (code))
    """
    void set_errno(int code) nogil


cdef enum:
    LOOK_MS = 50  # So often a wait for the thread looks for signals.


# --- calls to the system that a test has replaced


cdef Py_ssize_t ask(void *context, str name, tuple arguments, int *code) noexcept:
    """By a function of Python. `code` is an errno, or 0."""
    code[0] = 0
    try:
        returned = getattr(<object>context, name)(*arguments)
        return 0 if returned is None else returned
    except OSError as error:
        code[0] = error.errno or EIO
    except BaseException:
        code[0] = EIO
    return -1


cdef bytes bytes_of(const void *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length)


cdef Py_ssize_t python_pwrite(
    void *context, int fd, const void *data, size_t length, off_t offset
) noexcept nogil:
    cdef int code
    cdef Py_ssize_t returned
    with gil:
        returned = ask(context, "pwrite", (fd, bytes_of(data, length), offset), &code)
    set_errno(code)
    return returned


cdef Py_ssize_t python_pwritev(
    void *context, int fd, const iovec *parts, int count, off_t offset
) noexcept nogil:
    cdef int code, i
    cdef Py_ssize_t returned
    with gil:
        all_bytes = [bytes_of(parts[i].iov_base, parts[i].iov_len) for i in range(count)]
        returned = ask(context, "pwritev", (fd, all_bytes, offset), &code)
    set_errno(code)
    return returned


cdef int python_ftruncate(void *context, int fd, off_t length) noexcept nogil:
    cdef int code
    with gil:
        ask(context, "ftruncate", (fd, length), &code)
    set_errno(code)
    return -1 if code else 0


cdef int python_fdatasync(void *context, int fd) noexcept nogil:
    cdef int code
    with gil:
        ask(context, "fdatasync", (fd,), &code)
    set_errno(code)
    return -1 if code else 0


cdef int python_close(void *context, int fd) noexcept nogil:
    cdef int code
    with gil:
        ask(context, "close", (fd,), &code)
    set_errno(code)
    return -1 if code else 0


cdef int python_eventfd(void *context) noexcept nogil:
    cdef int code, returned
    with gil:
        returned = <int>ask(context, "eventfd", (0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), &code)
    set_errno(code)
    return returned


cdef class LogWriter:
    """See `storage/log_writer.py`. With `calls`, which has the functions of `os` that are needed, the
    thread makes its calls to the system by them: tests replace those.

    `twin` hears why the thread cannot be started. If it gives another writer, that does all the work."""

    cdef object loop
    cdef object calls
    cdef object twin
    cdef object instead  # What `twin` gave, or None.
    cdef size_t zeros
    cdef log_writer *writer

    def __init__(self, loop, Py_ssize_t zeros, calls=None, twin=None):
        if zeros < 0:
            raise ValueError(f"{zeros} zeros")
        self.loop = loop
        self.calls = calls
        self.twin = twin
        self.zeros = <size_t>zeros

    def append(
        self, int fd, bytes data not None, uint64_t start, uint64_t filled_bytes, written not None
    ):
        cdef log_job *job = NULL
        try:
            if self.may_start():
                job = self.new_job(fd)
        except (OSError, MemoryError) as error:
            refused = error if isinstance(error, OSError) else OSError(ENOMEM, os.strerror(ENOMEM))
            try:
                self.loop.call_soon(written, filled_bytes, refused, True)
            except RuntimeError:
                pass  # The loop is closed: nothing waits for it.
            return
        if job == NULL:
            self.instead.append(fd, data, start, filled_bytes, written)
            return
        job.data = <const unsigned char *>PyBytes_AS_STRING(data)
        job.length = <size_t>PyBytes_GET_SIZE(data)
        job.start = start
        job.filled = filled_bytes
        # The thread reads the bytes, which nothing changes or frees before the job is taken back.
        Py_INCREF(data)
        Py_INCREF(written)
        job.owner = <void *>data
        job.told = <void *>written
        log_writer_add(self.writer, job)

    def close_file(self, int fd):
        cdef log_job *job = NULL
        try:
            if self.may_start():
                job = self.new_job(fd)
        except (OSError, MemoryError):
            (os if self.calls is None else self.calls).close(fd)
            return
        if job == NULL:
            self.instead.close_file(fd)
            return
        log_writer_add(self.writer, job)

    cdef bint may_start(self) except -1:
        """Have the thread run. False: its twin is there `instead`."""
        if self.writer != NULL:
            return True
        if self.instead is not None:
            return False
        try:
            self.start()
        except OSError as error:
            if self.twin is not None:
                self.instead = self.twin(error)
            if self.instead is None:
                raise
            return False
        return True

    cdef log_job *new_job(self, int fd) except NULL:
        """Of the thread, which runs."""
        cdef log_job *job = <log_job *>PyMem_RawCalloc(1, sizeof(log_job))
        if job == NULL:
            raise MemoryError
        job.fd = fd
        return job

    cdef int start(self) except -1:
        cdef log_calls calls = LOG_SYSTEM_CALLS
        if self.calls is not None:
            calls.eventfd = python_eventfd
            calls.pwrite = python_pwrite
            calls.pwritev = python_pwritev
            calls.ftruncate = python_ftruncate
            calls.fdatasync = python_fdatasync
            calls.close = python_close
            calls.context = <void *>self.calls
            Py_INCREF(self.calls)
        self.writer = log_writer_start(&calls, self.zeros)
        if self.writer == NULL:
            code = errno
            if self.calls is not None:
                Py_DECREF(self.calls)
            raise OSError(code, os.strerror(code))
        try:
            self.loop.add_reader(log_writer_eventfd(self.writer), self.take)
        except RuntimeError:
            pass  # The loop is closed: nothing waits for it.
        return 0

    def take(self):
        """Tell of all jobs that are done. The loop calls it."""
        if self.writer == NULL:
            return
        log_writer_heard(self.writer)
        try:
            while self.tell_one(None):
                pass
        except BaseException:
            if self.writer != NULL:
                log_writer_tell_again(self.writer)  # Of those behind it.
            raise

    cdef bint tell_one(self, call_soon) except -1:
        """Whether there was one. With `call_soon` it is told by that."""
        cdef log_job *job = NULL
        if self.writer != NULL:
            job = log_writer_take(self.writer)
        if job == NULL:
            return False
        cdef uint64_t filled = job.filled
        cdef int code = job.error
        cdef bint was_cut = job.was_cut
        cdef object written = None
        if job.told != NULL:
            written = <object>job.told
            Py_DECREF(written)
            Py_DECREF(<object>job.owner)
        PyMem_RawFree(job)
        if written is None:
            return True
        error = OSError(code, os.strerror(code)) if code else None
        if call_soon is None:
            written(filled, error, was_cut)
        else:
            call_soon(written, filled, error, was_cut)
        return True

    def close(self):
        """Return when everything that was handed in is done, and the thread has ended."""
        cdef log_writer *writer = self.writer
        cdef bint has_ended = False
        if self.instead is not None:
            self.instead.close()
            return
        if writer == NULL:
            return
        if not log_writer_is_here(writer):
            # What the loop watches by is shared with the process that has the thread.
            self.writer = NULL
            return
        while not has_ended:
            with nogil:
                has_ended = log_writer_end(writer, LOOK_MS)
            PyErr_CheckSignals()
        try:
            self.loop.remove_reader(log_writer_eventfd(writer))
            while self.tell_one(self.loop.call_soon):
                pass
        except RuntimeError:
            pass  # The loop is closed.
        self.forget_jobs()
        if self.calls is not None:
            Py_DECREF(self.calls)
        self.writer = NULL
        log_writer_drop(writer)

    cdef int forget_jobs(self) except -1:
        """Of a thread that has ended: those that nobody can be told of."""
        cdef log_job *job
        while True:
            job = log_writer_take(self.writer)
            if job == NULL:
                return 0
            if job.told != NULL:
                Py_DECREF(<object>job.told)
                Py_DECREF(<object>job.owner)
            PyMem_RawFree(job)

    def __dealloc__(self):
        if self.writer != NULL:
            log_writer_drop(self.writer)
