"""Layers: each a transformer on its own, and a stage of a network inside ``CNNClassifier(layers=[...])``."""

from .convolution import Conv1DTransformer, Conv2DTransformer, Conv3DTransformer
from .dense import Dense, Dropout, Flatten
from .pooling import AvgPool, MaxPool

__all__ = [
    "AvgPool",
    "Conv1DTransformer",
    "Conv2DTransformer",
    "Conv3DTransformer",
    "Dense",
    "Dropout",
    "Flatten",
    "MaxPool",
]
