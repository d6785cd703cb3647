from .layer cimport Layer

cdef class Input(Layer):
    cdef:
        char *mean          # one value per element of a line, or NULL
        char *scale
        object _arrays      # that own them
        int own             # type (Source) of data that need no conversion
