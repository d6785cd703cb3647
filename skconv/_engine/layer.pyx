"""What every compiled layer is to the engine: a forward and a backward pass over a few samples.

The engine calls these methods without the GIL and knows nothing else about a layer.  A layer's forward pass over one
sample falls into `n_units` independent units, so that a single large image can be shared out among threads; which
unit computes a value never changes its bits.  A layer whose units look at their neighbours' results goes through them
in several phases (Pass.phase), each of which finds the one before complete.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t
from libc.string cimport memcpy

import numpy as np

from .jobs cimport Job, skconv_announce, skconv_count, skconv_counted, skconv_pause, skconv_take
from .table cimport Kernels, Run


cdef const Kernels *kernels_of(object capsule) except NULL:
    return <const Kernels *> PyCapsule_GetPointer(capsule, "skconv._engine.kernels")


cdef Map map_of(object layout) except *:
    """Read a MapLayout (skconv._network)."""
    cdef Map m
    cdef int axis
    for axis in range(3):
        m.size[axis] = layout.size[axis]
    m.channels = layout.n_channels
    m.values = layout.size[0] * layout.size[1] * layout.size[2] * layout.n_channels
    m.depth_stride = layout.depth_stride
    m.line_stride = layout.line_stride
    m.origin = layout.origin
    m.sample = layout.sample_stride
    m.is_data = layout.is_data
    return m


cdef class Tables:
    def __init__(self):
        self.arrays = []

    cdef char *bytes(self, Py_ssize_t n) except NULL:
        # On a cache line of its own: vector loads that straddle two lines cost twice.
        cdef char[::1] view
        cdef size_t address
        array = np.zeros(n + 64, dtype=np.int8)
        self.arrays.append(array)
        view = array
        address = <size_t> &view[0]
        return &view[(64 - address % 64) % 64]

    cdef Py_ssize_t *sizes(self, Py_ssize_t n) except NULL:
        return <Py_ssize_t *> self.bytes(n * sizeof(Py_ssize_t))

    cdef int32_t *ints(self, Py_ssize_t n) except NULL:
        return <int32_t *> self.bytes(n * sizeof(int32_t))

    cdef int32_t *masks(self, bools, int times) except NULL:
        """All bits of a number where true, `times` for each."""
        cdef const int32_t[::1] bits = -np.repeat(bools, times).astype(np.int32)
        cdef int32_t *masks = self.ints(bits.shape[0])
        memcpy(masks, &bits[0], bits.shape[0] * sizeof(int32_t))
        return masks

    cdef Run *runs(self, Py_ssize_t n) except NULL:
        return <Run *> self.bytes(n * sizeof(Run))


cdef class Layer:
    """Base of the compiled layers.

    Parameters
    ----------
    kernels : capsule
        Table of kernels of one instruction set and precision.
    x, y : MapLayout
        Where input and output lie.
    is_output : bool
        Whether the output is the network's.
    needs_dx : bool
        Whether anything before this layer learns.
    """

    def __init__(self, kernels, x, y, *, is_output=False, needs_dx=True):
        self._kernels = kernels
        self.k = kernels_of(kernels)
        self.itemsize = self.k.itemsize
        self.x = map_of(x)
        self.y = map_of(y)
        self.is_output = is_output
        self.needs_dx = needs_dx
        self.n_units = 1
        self.n_phases = 1
        self.shares_forward = max(self.x.values, self.y.values) * self.itemsize >= SHARED_BYTES

    def place(self, Py_ssize_t scratch_offset, size_t weights, size_t bias, Py_ssize_t gradient_offset,
              Py_ssize_t bias_offset):
        """Tell the layer where its scratch, weights and gradients lie (addresses; byte offsets)."""
        self.scratch_offset = scratch_offset
        self.weights = <char *> weights
        self.bias = <char *> bias
        self.gradient_offset = gradient_offset
        self.bias_offset = bias_offset

    cdef char *input(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        if self.x.is_data:
            return <char *> p.x + sample_number(p, i) * p.x_sample
        return p.maps + self.x.origin + (p.place + i) * self.x.sample

    cdef char *output(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        if self.is_output and p.out != NULL:
            return p.out + i * p.out_sample
        return p.maps + self.y.origin + (p.place + i) * self.y.sample

    cdef char *input_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line) noexcept nogil:
        """Line `line` of all depth slices' lines."""
        return self.input(p, i) + (line // self.x.size[1] * self.x.depth_stride
                                   + line % self.x.size[1] * self.x.line_stride) * self.itemsize

    cdef char *output_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line) noexcept nogil:
        return self.output(p, i) + (line // self.y.size[1] * self.y.depth_stride
                                    + line % self.y.size[1] * self.y.line_stride) * self.itemsize

    cdef void prepare(self, bint forward, bint backward) noexcept nogil:
        """Bring the weights into the forms that the forward pass wants, and the backward pass, if there will be one."""
        pass

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """Compute units first to last of sample i."""
        pass

    cdef void forward(self, const Pass *p) noexcept nogil:
        cdef Pass q = p[0]
        cdef Py_ssize_t i
        for i in range(p.n):
            for q.phase in range(self.n_phases):
                self.forward_units(&q, i, 0, self.n_units)

    cdef void backward(self, const Pass *p) noexcept nogil:
        """From p.dy: add the weights' gradients to p.gradients, write p.dx."""
        pass

    cdef void share(self, const Pass *p, const void *work, Py_ssize_t n_parts) noexcept nogil:
        """Do n parts, which write to different places, with whoever is idle: of the forward pass where `work` is NULL,
        or of the backward pass."""
        cdef Py_ssize_t turn = 0
        p.job.layer = <void *> self
        p.job.pass_ = p
        p.job.work = work
        skconv_announce(p.job, n_parts)
        while take_part(p.job, False, p.scratch):
            pass
        while skconv_counted(&p.job.n_done) < n_parts:
            skconv_pause(turn)
            turn += 1

    cdef bint is_shared(self, const Pass *p) noexcept nogil:
        """Whether threads share the forward pass."""
        return (p.job != NULL and p.n == 1 and p.before == p.after == 0 and self.shares_forward and self.n_units > 1
                and self.n_phases == 1)

    cdef void share_forward(self, const Pass *p) noexcept nogil:
        self.share(p, NULL, min(self.n_units, MOST_SHARES))

    cdef void forward_part(self, const Pass *p, Py_ssize_t part, char *scratch) noexcept nogil:
        """Some units of the forward pass of one sample. p is the sharing thread's, scratch that of the one at work."""
        cdef Pass q = p[0]
        cdef Py_ssize_t n = min(self.n_units, MOST_SHARES)
        q.scratch = scratch
        self.forward_units(&q, 0, part * self.n_units // n, (part + 1) * self.n_units // n)

    cdef void backward_part(self, const Pass *p, const void *work, Py_ssize_t part, char *scratch) noexcept nogil:
        """One of the parts that `backward` shares."""
        pass


cdef bint take_part(Job *job, bint last, char *scratch) noexcept nogil:
    """Do the first part of a job that is left, or the last one; False where all are taken."""
    cdef Py_ssize_t part = skconv_take(job, last)
    if part < 0:
        return False
    if job.work == NULL:
        (<Layer> job.layer).forward_part(<const Pass *> job.pass_, part, scratch)
    else:
        (<Layer> job.layer).backward_part(<const Pass *> job.pass_, job.work, part, scratch)
    skconv_count(&job.n_done)
    return True
