"""Functions: the operations of the layers, and the lecture's, on plain arrays."""

from .._geometry import output_size, receptive_field
from .convolution import ConvolutionPlan, conv, conv_transpose, convolution_plan
from .matrices import ParameterCounts, convolution_matrix, doubly_block_circulant_matrix, n_parameters, toeplitz_matrix
from .pooling import avg_pool, channel_pool, global_pool, lp_pool, max_pool, max_unpool
from .signal import convolve, correlate

__all__ = [
    "ConvolutionPlan",
    "ParameterCounts",
    "avg_pool",
    "channel_pool",
    "conv",
    "conv_transpose",
    "convolution_matrix",
    "convolution_plan",
    "convolve",
    "correlate",
    "doubly_block_circulant_matrix",
    "global_pool",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "n_parameters",
    "output_size",
    "receptive_field",
    "toeplitz_matrix",
]
