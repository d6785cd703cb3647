"""A bank of filters by fast Fourier transforms: tiles of the image, and one transform of each for all filters.

A tile of T x T pixels correlated with a kernel of K x K is right in (T - K + 1)**2 of them, cyclically; the tiles
overlap by the rest ("overlap-save"). The transform of a tile is shared by the bank; every complex filter costs one
product and one inverse transform, which gives its real and its imaginary result together.
"""

import numpy as np
from scipy import fft

from .._engine import effective_n_threads
from .._operations import CombineMoments
from .._separable import fourier_tile, padded_sources

# Bytes of the spectra that are transformed back together.
BATCH_BYTES = 32 * 1024 * 1024


class FourierBank:
    """What a network is to the other algorithms: operations of a bank, and `predict`.

    Parameters
    ----------
    operations : list of Operation
        A FilterBank, and CombineMoments behind one with moments.
    dtype : {"float32", "float64"}
    """

    def __init__(self, operations, dtype):
        self.operations = operations
        self.dtype = np.dtype(dtype)
        self.out_shape = operations[-1].out_shape
        self._bank, self._window, self._mode = operations[0].bank, operations[0].window, operations[0].mode
        self._has_moments = isinstance(operations[-1], CombineMoments)
        size = operations[0].in_shape[:-1]
        self._out = self._window.output_size(size)
        self._tile = tuple(
            fourier_tile((o - 1) * s + k, k)
            for o, s, k in zip(self._out, self._window.stride, self._bank.shape, strict=True)
        )
        self._is_complex = len(self._bank.parts) > 1
        self._spectra = None

    def initialize(self, rng):
        """Transform the filters, turned by 180 degrees: pixel k of a kernel at -k."""
        bank = self._bank
        kernels = bank.kernels() if self._is_complex else bank.real_kernels()
        spectra = []
        for kernel in kernels:
            turned = np.zeros(self._tile, dtype=np.result_type(kernel, np.float64))
            turned[: bank.shape[0], : bank.shape[1]] = kernel
            turned = np.roll(turned[::-1, ::-1], 1, axis=(0, 1))
            spectrum = fft.fft2(turned) if self._is_complex else fft.rfft2(turned)
            spectra.append(spectrum.astype(np.result_type(self.dtype, np.complex64)))
        self._spectra = np.array(spectra)

    def predict(self, images, *, refuse=None):
        """Responses of images (n, height, width, n_channels), as `Network.predict`."""
        if refuse is not None:
            refuse(images)
        n_channels = images.shape[-1]
        result = np.empty((len(images), *self.out_shape), dtype=self.dtype)
        with np.errstate(all="ignore"):  # what overflows is infinite or NaN, as in the other algorithms
            for image, out in zip(images, result, strict=True):
                for channel in range(n_channels):
                    self._channel(image[..., channel], out, channel)
        return result

    def _channel(self, image, out, channel):
        """Write the responses to one channel of one image."""
        bank, window = self._bank, self._window
        sources = padded_sources(image.shape, window, self._mode)
        maps = slice(channel * bank.n_outputs, (channel + 1) * bank.n_outputs)
        moments, count = np.zeros((2, bank.n_outputs)), 0
        # Whole windows of a tile: so many outputs of either axis.
        steps = [(t - k) // s + 1 for t, k, s in zip(self._tile, bank.shape, window.stride, strict=True)]
        for i in range(0, self._out[0], steps[0]):
            for j in range(0, self._out[1], steps[1]):
                tile = self._read(image, sources, i * window.stride[0], j * window.stride[1])
                n_lines, n_columns = min(steps[0], self._out[0] - i), min(steps[1], self._out[1] - j)
                for first, responses in self._respond(tile, n_lines, n_columns):
                    here = slice(maps.start + first, maps.start + first + len(responses))
                    if not self._has_moments:
                        out[i : i + n_lines, j : j + n_columns, here] = np.moveaxis(responses, 0, -1)
                        continue
                    n = n_lines * n_columns
                    mean = responses.mean(axis=(1, 2), dtype=float)
                    squares = responses.var(axis=(1, 2), dtype=float) * n
                    part = moments[:, first : first + len(responses)]
                    delta = mean - part[0]
                    part[0] += delta * (n / (count + n))
                    part[1] += squares + delta**2 * (n * count / (count + n))
                count += n_lines * n_columns
        if self._has_moments:
            out[2 * maps.start : 2 * maps.stop : 2] = moments[0]
            out[2 * maps.start + 1 : 2 * maps.stop : 2] = np.sqrt(moments[1] / count)

    def _read(self, image, sources, i, j):
        """One tile of the padded image, zeros behind its end."""
        lines, columns = sources[0][i : i + self._tile[0]], sources[1][j : j + self._tile[1]]
        tile = np.zeros(self._tile, dtype=self.dtype)
        inner = tile[: len(lines), : len(columns)]
        inner[...] = image[np.ix_(lines, columns)]
        inner[lines < 0] = 0
        inner[:, columns < 0] = 0
        return tile

    def _respond(self, tile, n_lines, n_columns):
        """Yield (first output, responses) of a few filters at a time."""
        workers = effective_n_threads()
        response, stride = self._bank.response, self._window.stride
        n_filters = len(self._bank.filters)
        spectrum = fft.fft2(tile, workers=workers) if self._is_complex else fft.rfft2(tile, workers=workers)
        batch = max(1, BATCH_BYTES // spectrum.nbytes)
        where = np.s_[:, : n_lines * stride[0] : stride[0], : n_columns * stride[1] : stride[1]]
        for first in range(0, n_filters, batch):
            product = self._spectra[first : first + batch] * spectrum
            if not self._is_complex:
                yield first, fft.irfft2(product, s=self._tile, workers=workers, overwrite_x=True)[where]
                continue
            result = fft.ifft2(product, workers=workers, overwrite_x=True)[where]
            if response == "magnitude":
                yield first, np.abs(result)
            elif response == "energy":
                yield first, result.real**2 + result.imag**2
            else:
                yield first, result.real
                yield n_filters + first, result.imag
