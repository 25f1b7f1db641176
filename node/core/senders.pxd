"""`Sender` for other modules in here."""


cdef class Sender:
    cdef object transport
    cdef object endpoint
    cdef object takes
    cdef bint is_direct
    cdef bint is_behind

    cdef Py_ssize_t take(self, const char *data, Py_ssize_t length) except -1
    cdef int send(self, const char *data, Py_ssize_t length) except -1
