"""Where the filters of a convolution come from when they are found in data: patches of what the layer sees.

A family is a function ``family(x, n_filters, rng, weights=None) -> filters, intercepts`` of patches `x`, one per row,
which it may overwrite, and of their weights, where not all are 1; `FAMILIES` holds them by the name that
``Conv2DTransformer(filters=name)`` knows. They all compute in float64 and with one thread: a sum that BLAS or OpenMP
share out has other bits for every number of threads, and a bounded sample of patches takes a second at most where a
network trains for minutes.
"""

import math

import numpy as np

from ._geometry import check_choice

# What is drawn at most: patches, and values in all of them: 64 MiB in float64, which k-means holds three times. Of 3x3
# patches of 64 channels, that is 14,000: 25 for each of their dimensions.
MAX_PATCHES = 100_000
MAX_VALUES = 2**23
# Samples taken through the layers before, where there are some.
MAX_SAMPLES = 10_000
# Largest patch whose covariance is taken apart: 128 MiB, and some ten seconds.
MAX_EIGEN = 4096
# Bytes of the maps that are kept at a time while patches are cut out of them.
BLOCK_BYTES = 32 * 1024 * 1024
# Patches cut out at a time: their copy in the data's own type stays small.
_BLOCK_PATCHES = 4096
# Added to eigenvalues before the root, in units of their mean: airbench's 5e-4 for images of variance 1, and Coates and
# Ng's 0.01. Relative, so that images of 0 to 255 and of 0 to 1 give the same filters but for their scale.
_EPS_WHITENING = 5e-4
_EPS_KMEANS = 0.01
# Below this a deviation is what rounding left, or has no reciprocal in float32.
_TINY = 1e-37


class Maps:
    """What reaches a layer: images, or what the layers before make of them, a bounded number at a time.

    Parameters
    ----------
    images : ndarray of shape (n_samples, *in_shape)
    network : Network or None
        The layers before.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the images, not all of them zero; an integer is a repetition, and zero is absence.

    Attributes
    ----------
    shape : tuple
        Of one sample's map.
    """

    def __init__(self, images, network=None, sample_weight=None):
        self.images = images
        self.network = network
        self.sample_weight = sample_weight
        self.shape = images.shape[1:] if network is None else network.out_shape

    def __len__(self):
        return len(self.images)

    def blocks(self, samples):
        """Yield ``maps, rows``, so that the ``maps[rows]`` of all blocks are the maps of `samples`, in order.

        Images that reach the layer as they are come as one block, which is nothing but a view: a memory map is read
        where it is looked at.
        """
        if self.network is None:
            yield self.images, samples
            return
        step = max(1, BLOCK_BYTES // (self.network.dtype.itemsize * math.prod(self.shape)))
        for start in range(0, len(samples), step):
            part = samples[start : start + step]
            yield self.network.predict(np.ascontiguousarray(self.images[part])), np.arange(len(part))


def draw_patches(maps, kernel_size, dilation, rng):
    """Draw patches at random; take all of them where they are no more than the limits.

    A patch lies wholly inside its map. Along an axis that is shorter than the patch, it holds the whole map instead,
    somewhere in it, and zeros around.

    Parameters
    ----------
    maps : Maps
        Of shape (*spatial, n_channels).
    kernel_size, dilation : tuple of int
    rng : RandomState

    Returns
    -------
    patches : ndarray of shape (n_patches, prod(kernel_size), n_channels), float64
        At most `MAX_PATCHES`, and at most `MAX_VALUES` values.
    weights : ndarray of shape (n_patches,), or None
        Those of the samples, where these have some and all patches are taken. Where patches are drawn, samples give
        patches in proportion to their weight.
    """
    *size, n_channels = maps.shape
    n_taps = math.prod(kernel_size)
    room = [n - (k - 1) * d - 1 for n, k, d in zip(size, kernel_size, dilation, strict=True)]
    lowest = np.array([min(r, 0) for r in room])
    counts = [abs(r) + 1 for r in room]
    n_windows = math.prod(counts)

    n_patches = max(1, min(MAX_PATCHES, MAX_VALUES // (n_taps * n_channels)))
    samples = np.arange(len(maps)) if maps.sample_weight is None else np.flatnonzero(maps.sample_weight)
    weights = None if maps.sample_weight is None else maps.sample_weight[samples]
    n_samples = min(len(samples), n_patches if maps.network is None else min(n_patches, MAX_SAMPLES))
    if n_samples < len(samples):
        if weights is None:
            from sklearn.utils.random import sample_without_replacement

            samples = np.sort(sample_without_replacement(len(maps), n_samples, random_state=rng))
        else:
            drawn, weights = np.unique(_draw_weighted(weights, n_samples, rng), return_counts=True)
            samples, n_samples = samples[drawn], len(drawn)
    if n_samples * n_windows <= n_patches:
        n_patches = n_samples * n_windows
        windows = np.tile(np.arange(n_windows), n_samples)
        owners = np.repeat(np.arange(n_samples), n_windows)
        weights = None if weights is None else np.asarray(weights, dtype=np.float64)[owners]
    else:
        windows = rng.randint(n_windows, size=n_patches, dtype=np.int64)
        if weights is None:
            owners = np.arange(n_patches) * n_samples // n_patches  # as many from every sample, give or take one
        else:
            owners, weights = _draw_weighted(weights, n_patches, rng), None
    starts = np.stack(np.unravel_index(windows, counts), axis=-1) + lowest

    patches = np.empty((n_patches, n_taps, n_channels))
    first = done = 0
    for block, rows in maps.blocks(samples):
        stop = int(np.searchsorted(owners, done + len(rows)))
        for a in range(first, stop, _BLOCK_PATCHES):
            b = min(a + _BLOCK_PATCHES, stop)
            patches[a:b] = _cut(block, rows[owners[a:b] - done], starts[a:b], kernel_size, dilation)
        first, done = stop, done + len(rows)
    return patches, weights


def _draw_weighted(weights, n, rng):
    """Draw n numbers, in order, number i as often as its share of the positive weights says, give or take one.

    At equal distances along the weights, one behind the other in a random order: systematic sampling (Madow 1949).
    """
    order = rng.permutation(len(weights))
    ends = np.cumsum(weights[order], dtype=np.float64)
    at = np.searchsorted(ends, (np.arange(n) + rng.uniform()) * (ends[-1] / n), side="right")
    return np.sort(order[np.minimum(at, len(order) - 1)])


def _cut(maps, samples, starts, kernel_size, dilation):
    """Cut one window out of each of the given samples; zeros outside of them."""
    ndim = len(kernel_size)
    index, inside = [samples.reshape(-1, *[1] * ndim)], np.bool_(True)
    for axis, (k, d) in enumerate(zip(kernel_size, dilation, strict=True)):
        n = maps.shape[axis + 1]
        taps = starts[:, axis, None] + d * np.arange(k)
        taps = taps.reshape(-1, *[1] * axis, k, *[1] * (ndim - 1 - axis))
        if n <= (k - 1) * d:
            inside = inside & (taps >= 0) & (taps < n)
            taps = taps.clip(0, n - 1)
        index.append(taps)
    values = maps[tuple(index)]
    if inside.ndim:
        values = np.where(inside[..., None], values, 0)
    return values.reshape(len(samples), math.prod(kernel_size), -1)


# ---- families ------------------------------------------------------------------------------------------------------


def patches(x, n_filters, rng, weights=None):
    """Use patches themselves: mean removed, divided by their norm, drawn at random [1]_, [2]_.

    Constant patches are passed over, and where there are fewer others than filters, they repeat; where there are none
    at all, every filter is the mean over its window.

    References
    ----------
    .. [1] Pinto, Doukhan, DiCarlo and Cox, "A high-throughput screening approach to discovering good forms of
       biologically inspired visual representation", PLoS Computational Biology 5(11), 2009.
    .. [2] Coates and Ng, "The importance of encoding versus training with sparse coding and vector quantization",
       ICML 2011.
    """
    x, norms = _without_mean(x)
    usable = np.flatnonzero(norms)
    if len(usable) == 0:
        return _mean_filters(x, n_filters), np.zeros(n_filters)
    if weights is None:
        chosen = np.resize(rng.permutation(usable), n_filters)
    else:
        share = weights[usable] / weights[usable].sum()
        n_chosen = min(n_filters, len(usable))
        chosen = np.resize(rng.choice(usable, n_chosen, replace=False, p=share), n_filters)
    return x[chosen] / norms[chosen, None], np.zeros(n_filters)


def whitening(x, n_filters, rng, weights=None):
    """Use leading eigenvectors of the patches' covariance, over the root of the eigenvalue, and their negatives [1]_.

    The filters e_i / sqrt(l_i + eps), i = 1 ... ceil(n_filters / 2), then as many of their negatives as are left; eps
    is 5e-4 of the mean eigenvalue. Intercepts take the mean patch away. Responses then have mean 0, variance
    l_i / (l_i + eps), and no correlation but that of a filter with its negative. Behind a rectifier, the two signs lose
    nothing of the patch.

    References
    ----------
    .. [1] Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498, section 3.2; after Page,
       "How to train your ResNet 8: bag of tricks", 2019.
    """
    n_vectors = -(-n_filters // 2)
    mean = _mean(x, weights)
    values, vectors, trace = _principal(x, mean, n_vectors, weights)
    vectors = vectors / _deviation(values, _EPS_WHITENING * trace / x.shape[1])[:, None]
    intercepts = -vectors @ mean
    negative = slice(n_filters - n_vectors)
    return np.concatenate([vectors, -vectors[negative]]), np.concatenate([intercepts, -intercepts[negative]])


def pca(x, n_filters, rng, weights=None):
    """Use leading eigenvectors of the covariance of patches whose own mean was removed [1]_.

    Orthonormal; those before the last one do not see the brightness of a patch.

    References
    ----------
    .. [1] Chan, Jia, Gao, Lu, Zeng and Ma, "PCANet: a simple deep learning baseline for image classification?", IEEE
       Transactions on Image Processing 24(12), 2015.
    """
    x, _ = _without_mean(x)
    return _principal(x, _mean(x, weights), n_filters, weights)[1], np.zeros(n_filters)


def kmeans(x, n_filters, rng, weights=None):
    """Use centres of clusters of whitened patches, by their direction [1]_.

    1. The mean of every patch is removed, and it is divided by its contrast sqrt(v + 0.01 * mean of v), where v is the
       variance inside the patch.
    2. The patches are whitened (ZCA): W = E (L + eps)^-1/2 E', eps = 0.01 of the mean eigenvalue; constant ones are
       left out, the others divided by their norm.
    3. `sklearn.cluster.MiniBatchKMeans` finds `n_filters` clusters, whose centres c are divided by their norms.
    4. The filters are W c over the root mean square contrast: they do with an image what 1 and 2 did with a patch, but
       for the division by its own contrast. (W c sums to zero, as every c does.) Intercepts take the mean patch away.

    Fewer different patches than filters make some filters equal.

    References
    ----------
    .. [1] Coates and Ng, "Learning feature representations with k-means", in Neural Networks: Tricks of the Trade,
       2012.
    """
    from sklearn.cluster import MiniBatchKMeans

    x, norms = _without_mean(x)
    if not norms.any():
        return _mean_filters(x, n_filters), np.zeros(n_filters)
    variance = norms**2 / x.shape[1]
    mean_variance = _mean(variance, weights)
    typical = math.sqrt(1.01 * mean_variance)
    x /= np.sqrt(variance + 0.01 * mean_variance)[:, None]
    mean = _mean(x, weights)
    values, vectors, trace = _principal(x, mean, x.shape[1], weights)  # x - mean from here on
    scaled = vectors / _deviation(values, _EPS_KMEANS * trace / x.shape[1])[:, None]
    x = x @ (scaled.T @ vectors)
    norms = _norms(x)
    usable = norms > 1e-7 * norms.max()
    x = x[usable] / norms[usable, None]
    # The first centres cost as much as the rest where there are 1,600 of them, and 3 tries help where there are few.
    n_init = 3 if n_filters <= 256 else 1
    model = MiniBatchKMeans(
        min(n_filters, len(x)), n_init=n_init, batch_size=max(1024, 4 * n_filters), random_state=rng
    )
    centres = model.fit(x, sample_weight=None if weights is None else weights[usable]).cluster_centers_
    norms = _norms(centres)
    centres /= np.where(norms > 0, norms, 1)[:, None]
    filters = centres @ scaled.T @ vectors
    intercepts = -filters @ mean
    return np.resize(filters / typical, (n_filters, x.shape[1])), np.resize(intercepts, n_filters)


FAMILIES = {"patches": patches, "whitening": whitening, "pca": pca, "kmeans": kmeans}
# Filters at most per value of a patch, for the families that have a limit.
_MOST = {"whitening": 2, "pca": 1}


def _without_mean(x):
    """Subtract from every patch its mean; return the norms of what is left, 0 where that is nothing but rounding."""
    mean = x.mean(axis=1, keepdims=True)
    x -= mean
    norms = _norms(x)
    norms[norms <= np.maximum(1e-7 * np.abs(mean[:, 0]), _TINY)] = 0
    return x, norms


def _norms(x):
    """Norms of the rows."""
    return np.sqrt(np.einsum("ij,ij->i", x, x))


def _mean_filters(x, n_filters):
    """Filters of norm 1 for images without any structure."""
    return np.full((n_filters, x.shape[1]), 1 / math.sqrt(x.shape[1]))


def _mean(x, weights):
    """Mean of the rows."""
    if weights is None:
        return x.mean(axis=0)
    return weights @ x / weights.sum()


def _principal(x, mean, n_vectors, weights=None):
    """Leading eigenvalues and eigenvectors (rows) of the covariance of `x`, and its trace; leaves ``x - mean`` in `x`.

    The largest component of every vector is positive; of those that rounding cannot tell apart, the first one.
    """
    from scipy.linalg import eigh

    x -= mean
    if weights is None:
        covariance = x.T @ x
        covariance /= len(x)
    else:
        scaled = x * np.sqrt(weights / weights.sum())[:, None]
        covariance = scaled.T @ scaled
        del scaled
    n = len(covariance)
    values, vectors = eigh(covariance, subset_by_index=(n - n_vectors, n - 1))
    values, vectors = np.maximum(values[::-1], 0), vectors.T[::-1]
    size = np.abs(vectors)
    largest = np.argmax(size >= (1 - 1e-6) * size.max(axis=1, keepdims=True), axis=1)
    signs = np.sign(np.take_along_axis(vectors, largest[:, None], axis=1))
    return values, vectors * signs, float(np.trace(covariance))


def _deviation(values, eps):
    """Root of the eigenvalues, 1 where all are nothing."""
    deviation = np.sqrt(values + eps)
    return np.where(deviation > _TINY, deviation, 1)


# ---- filters of a layer --------------------------------------------------------------------------------------------


def _blocks(n_channels, n_filters, groups, connections):
    """Yield (channels, filters) that belong together: every filter of a block sees the same channels."""
    if connections is None:
        for g in range(groups):
            yield (
                np.arange(g * n_channels // groups, (g + 1) * n_channels // groups),
                np.arange(g * n_filters // groups, (g + 1) * n_filters // groups),
            )
        return
    seen = np.asarray(connections, dtype=bool)
    _, kinds = np.unique(seen, axis=1, return_inverse=True)
    kinds = np.reshape(kinds, -1)
    for kind in range(kinds.max() + 1):
        filters = np.flatnonzero(kinds == kind)
        yield np.flatnonzero(seen[:, filters[0]]), filters


def check_family(family, kernel_size, n_channels, n_filters, where="", *, groups=1, connections=None):
    """Check that a family has as many filters as a layer asks for.

    Parameters
    ----------
    family : str
    kernel_size : tuple of int
    n_channels, n_filters : int
    where : str
        Prefix of the message.
    groups : int, default=1
        Groups of channels and of filters that see only each other; they divide both.
    connections : array of bool of shape (n_channels, n_filters), default=None
        Which channel feeds which filter; None for all.
    """
    check_choice(family, f"{where}filters", ("random", *FAMILIES))
    n_taps = math.prod(kernel_size)
    for channels, filters in _blocks(n_channels, n_filters, groups, connections):
        n_values = n_taps * len(channels)
        what = f"patches of {n_values} values ({'x'.join(map(str, kernel_size))} pixels, {len(channels)} channels)"
        most = _MOST.get(family, 0) * n_values
        if most and len(filters) > most:
            total = "" if len(filters) == n_filters else f", of which {len(filters)} see the same channels,"
            raise ValueError(
                f"{where}n_filters={n_filters}{total} is more than filters={family!r} finds in {what}; use at most "
                f"{most}, a larger kernel_size, or filters='kmeans'"
            )
        if family not in ("random", "patches") and n_values > MAX_EIGEN:
            raise ValueError(
                f"{where}filters={family!r} needs eigenvectors of {what}; the limit is {MAX_EIGEN} values: use a "
                "smaller kernel_size, or filters='patches'"
            )


def find_filters(family, maps, kernel_size, n_filters, rng, *, dilation=None, groups=1, connections=None):
    """Find the filters of a layer in what reaches it.

    Parameters
    ----------
    family : {"patches", "whitening", "pca", "kmeans"}
    maps : Maps
    kernel_size : tuple of int
    n_filters : int
    rng : RandomState
    dilation : tuple of int, default=None
        Distance of the taps; None for 1.
    groups, connections : as in `check_family`
        Filters that see the same channels are found together, in those.

    Returns
    -------
    filters : ndarray of shape (*kernel_size, n_channels // groups, n_filters), float64
        Zero where `connections` has no connection.
    intercepts : ndarray of shape (n_filters,)
    """
    from threadpoolctl import threadpool_limits

    if family == "kmeans":
        import sklearn.cluster  # noqa: F401  before threads are limited: it may bring an OpenMP of its own

    n_channels = maps.shape[-1]
    n_taps = math.prod(kernel_size)
    dilation = (1,) * len(kernel_size) if dilation is None else dilation
    x, weights = draw_patches(maps, kernel_size, dilation, rng)
    filters = np.zeros((n_taps, n_channels // groups, n_filters))
    intercepts = np.zeros(n_filters)
    blocks = list(_blocks(n_channels, n_filters, groups, connections))
    with threadpool_limits(1):
        for channels, mine in blocks:
            part = x if len(blocks) == 1 and len(channels) == n_channels else x[:, :, channels]
            found, intercepts[mine] = FAMILIES[family](part.reshape(len(x), -1), len(mine), rng, weights)
            rows = channels if groups == 1 else channels - channels[0]
            filters[:, rows[:, None], mine] = found.T.reshape(n_taps, len(rows), len(mine))
    return filters.reshape(*kernel_size, n_channels // groups, n_filters), intercepts
