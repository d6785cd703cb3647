"""Layers: each a transformer on its own, and a stage of a network inside ``CNNClassifier(layers=[...])``."""

from .convolution import Conv1DTransformer, Conv2DTransformer, Conv3DTransformer
from .dense import Dense, Dropout, Flatten
from .gabor import GaborFilterBank
from .normalization import BatchNorm, LocalContrastNorm
from .pooling import AvgPool, ChannelPool, GlobalPool, LPPool, MaxPool

__all__ = [
    "AvgPool",
    "BatchNorm",
    "ChannelPool",
    "Conv1DTransformer",
    "Conv2DTransformer",
    "Conv3DTransformer",
    "Dense",
    "Dropout",
    "Flatten",
    "GaborFilterBank",
    "GlobalPool",
    "LPPool",
    "LocalContrastNorm",
    "MaxPool",
]
