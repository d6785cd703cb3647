"""Functions: the operations of the layers, and the lecture's, on plain arrays."""

from .._geometry import output_size, receptive_field
from .convolution import conv, conv_transpose
from .matrices import convolution_matrix, doubly_block_circulant_matrix, n_parameters, toeplitz_matrix
from .signal import convolve, correlate

__all__ = [
    "conv",
    "conv_transpose",
    "convolution_matrix",
    "convolve",
    "correlate",
    "doubly_block_circulant_matrix",
    "n_parameters",
    "output_size",
    "receptive_field",
    "toeplitz_matrix",
]
