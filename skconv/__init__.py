"""skconv: convolution, pooling and small convolutional networks for scikit-learn users."""

try:
    from . import _engine as _engine
except ImportError as error:
    if "SKCONV_ISA" in str(error):
        raise
    raise ImportError(
        "the compiled part of skconv is missing. Install skconv with 'pip install .' from its folder, and run Python "
        "from another folder: the folder 'skconv' beside pyproject.toml holds the uncompiled sources "
        f"({error})"
    ) from error

from . import functional as functional
from ._versions import show_versions
from .classifier import CNNClassifier
from .features import ConvFeatures
from .layers import (
    AvgPool,
    BatchNorm,
    ChannelPool,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    Dense,
    Dropout,
    Flatten,
    GaborFilterBank,
    GlobalPool,
    LocalContrastNorm,
    LPPool,
    MaxPool,
)
from .layers._gabor_kernel import gabor_kernel, gabor_parameters_from_opencv, gabor_parameters_from_skimage
from .regressor import CNNRegressor

__version__ = "0.1.0"

__all__ = [
    "AvgPool",
    "BatchNorm",
    "CNNClassifier",
    "CNNRegressor",
    "ChannelPool",
    "Conv1DTransformer",
    "Conv2DTransformer",
    "Conv3DTransformer",
    "ConvFeatures",
    "Dense",
    "Dropout",
    "Flatten",
    "GaborFilterBank",
    "GlobalPool",
    "LPPool",
    "LocalContrastNorm",
    "MaxPool",
    "gabor_kernel",
    "gabor_parameters_from_opencv",
    "gabor_parameters_from_skimage",
    "show_versions",
]
