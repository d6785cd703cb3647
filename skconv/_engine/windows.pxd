"""Pooling windows as a struct, filled from the Python side's geometry."""
from .layer cimport Tables
from .table cimport Clip, Windows

cdef class PoolWindows:
    cdef Windows w
    cdef Tables tables
    cdef Py_ssize_t clip_size(self) noexcept nogil
    cdef Clip clip_at(self, char *scratch) noexcept nogil
