# cython: language_level=3, binding=False
"""`Sender` of system/senders.py: one call of `send` for what a socket takes at once.

The interpreter's lock is held meanwhile, as uvloop holds it: the call does not wait.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE


cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    enum: MSG_NOSIGNAL
    ssize_t socket_send "send"(int descriptor, const void *data, size_t length, int flags)


cdef class Sender:
    """See `system/senders.py`."""

    def __init__(self, transport not None, endpoint, takes):
        self.transport = transport
        self.endpoint = endpoint
        self.takes = takes
        self.is_direct = endpoint is not None or takes is not None

    cdef Py_ssize_t take(self, const char *data, Py_ssize_t length) except -1:
        """Send what is taken at once; how many bytes that were."""
        cdef int descriptor
        cdef ssize_t taken
        if not self.is_direct:
            return 0
        if self.is_behind:
            if self.transport.get_write_buffer_size():
                return 0
            self.is_behind = False
        if self.transport.is_closing():
            return 0
        if self.takes is not None:
            taken = self.takes(PyBytes_FromStringAndSize(data, length))
        else:
            descriptor = self.endpoint.fileno()
            if descriptor < 0:
                return 0
            taken = socket_send(descriptor, data, <size_t>length, MSG_DONTWAIT | MSG_NOSIGNAL)
        return taken if taken > 0 else 0

    cdef int send(self, const char *data, Py_ssize_t length) except -1:
        """`write` of bytes that are no object."""
        cdef Py_ssize_t taken = self.take(data, length)
        if taken < length:
            self.transport.write(PyBytes_FromStringAndSize(data + taken, length - taken))
            self.is_behind = self.is_direct
        return 0

    def try_write(self, bytes data not None):
        return self.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def write(self, data):
        cdef Py_ssize_t taken
        if type(data) is bytes:
            taken = self.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if taken == PyBytes_GET_SIZE(data):
                return
            if taken:
                data = memoryview(data)[taken:]
        self.transport.write(data)
        self.is_behind = self.is_direct
