"""Functions: the operations of the layers, and the lecture's, on plain arrays."""

from .._geometry import output_size, receptive_field

__all__ = ["output_size", "receptive_field"]
