"""The data sets of the benchmarks, from the folder in the environment variable SKCONV_DATA.

    mnist/train-images-idx3-ubyte.gz and its three companions   MNIST as distributed
    usps.npz            X_train, y_train, X_test, y_test; 16x16 values from -1 to 1
    cifar10_jpeg.npz    jpeg_train, offset_train, y_train and the same of the test images: JPEG files end to end

Every loader returns X, y, X_test, y_test; images are (n, height, width) or (n, height, width, 3), labels int64.
"""

import gzip
import io
import itertools
import os
from pathlib import Path

import numpy as np


def path(name):
    """The file of that name in the folder SKCONV_DATA; ends the program with what is missing where there is none."""
    folder = os.environ.get("SKCONV_DATA")
    if not folder:
        raise SystemExit(f"set the environment variable SKCONV_DATA to the folder that holds {name}")
    file = Path(folder) / name
    if not file.is_file():
        raise SystemExit(f"{file} is missing: SKCONV_DATA={folder} must be the folder that holds {name}")
    return file


def mnist():
    """MNIST: 60,000 + 10,000 images, uint8 (28, 28)."""

    def read(name, offset):
        with gzip.open(path(f"mnist/{name}")) as file:
            return np.frombuffer(file.read(), dtype=np.uint8, offset=offset)

    parts = []
    for part in ("train", "t10k"):
        parts.append(read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28))
        parts.append(read(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64))
    return tuple(parts)


def usps():
    """USPS zip code digits, the data of LeCun et al. (1989): 7,291 + 2,007 images, float64 (16, 16) from -1 to 1."""
    with np.load(path("usps.npz")) as data:
        X, X_test = data["X_train"], data["X_test"]
        return X, data["y_train"].astype(np.int64), X_test, data["y_test"].astype(np.int64)


def cifar10():
    """CIFAR-10: 50,000 + 10,000 images, uint8 (32, 32, 3), decoded from JPEG files, which lose a little."""
    try:
        from PIL import Image
    except ImportError:
        raise SystemExit("CIFAR-10 is kept as JPEG files: install Pillow (pip install pillow) to decode them") from None

    parts = []
    with np.load(path("cifar10_jpeg.npz")) as data:
        for part in ("train", "test"):
            jpegs, offsets = data[f"jpeg_{part}"].tobytes(), data[f"offset_{part}"]
            images = np.empty((len(offsets) - 1, 32, 32, 3), dtype=np.uint8)
            for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
                images[i] = Image.open(io.BytesIO(jpegs[start:stop])).convert("RGB")
            parts += [images, data[f"y_{part}"].astype(np.int64)]
    return tuple(parts)
