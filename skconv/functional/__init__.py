"""Functions: the operations of the layers, and the lecture's, on plain arrays."""

from .._geometry import output_size, receptive_field
from .convolution import conv, conv_transpose

__all__ = ["conv", "conv_transpose", "output_size", "receptive_field"]
