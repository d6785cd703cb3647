"""Pooling over 2x2 windows of a batch of maps (64, 112, 112, 64), float32, against PyTorch's channels-last pooling.

    python benchmarks/pooling.py [--peer-python /path/to/python/with/torch]

Once with results that are allocated, and once written into existing arrays, where PyTorch 2 can for the mean. Its
max pooling always writes indices, too (8 bytes for each value), so it races against ours with and without them. All
sides pool the same random maps, which stand in memory, without gradients.
"""

import functools

import numpy as np
import race

SHAPE = (64, 112, 112, 64)


def maps(seed):
    """Draw the maps, channels last."""
    return np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)


def skconv_side(seed, *, name, writes=False, **options):
    """A function of skconv.functional."""
    import skconv
    from skconv import functional

    x, pool = maps(seed), getattr(functional, name)
    if writes:
        options["out"] = pool(x, 2)
    return lambda: pool(x, 2, **options), {"skconv": skconv.__version__, "numpy": np.__version__}


def pytorch_side(seed, *, name, writes=False, **options):
    """The function of torch.nn.functional of that name; for `writes`, the one it calls."""
    import torch

    pool = getattr(torch._C._nn if writes else torch.nn.functional, name)
    x = torch.from_numpy(maps(seed)).permute(0, 3, 1, 2)
    options["kernel_size"] = 2
    assert x.is_contiguous(memory_format=torch.channels_last)
    if writes:
        options["out"] = torch.empty(SHAPE[0], SHAPE[3], SHAPE[1] // 2, SHAPE[2] // 2).to(
            memory_format=torch.channels_last
        )

    @torch.inference_mode()
    def step():
        return pool(x, **options)

    return step, {"torch": torch.__version__}


CASES = {
    "max, allocated": {
        "skconv": functools.partial(skconv_side, name="max_pool"),
        "skconv, with indices": functools.partial(skconv_side, name="max_pool", return_indices=True),
        "PyTorch": functools.partial(pytorch_side, name="max_pool2d"),
    },
    "mean, allocated": {
        "skconv": functools.partial(skconv_side, name="avg_pool"),
        "PyTorch": functools.partial(pytorch_side, name="avg_pool2d"),
    },
    "mean, existing array": {
        "skconv": functools.partial(skconv_side, name="avg_pool", writes=True),
        "PyTorch": functools.partial(pytorch_side, name="avg_pool2d", writes=True),
    },
    "max, existing array": {
        "skconv": functools.partial(skconv_side, name="max_pool", writes=True),
    },
    "2-norm, allocated": {
        "skconv": functools.partial(skconv_side, name="lp_pool"),
        "PyTorch": functools.partial(pytorch_side, name="lp_pool2d", norm_type=2.0),
    },
}

if __name__ == "__main__":
    race.main(__doc__, CASES)
