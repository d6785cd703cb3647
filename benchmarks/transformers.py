"""A filter layer on 1,000 colour images: convolution of 64 filters 7x7, ReLU, max pooling, against PyTorch.

    python benchmarks/transformers.py [--peer-python /path/to/python/with/torch]

Images 64x64x3, float32, standing in memory, padding that keeps their size. Both sides allocate their results, as
`transform` and PyTorch's modules do; PyTorch runs channels first and channels last, eager and compiled, in batches of
128 and of 1,000 without gradients, and its best counts.
"""

import functools

import numpy as np
import race


def images(seed):
    """Draw the images."""
    return np.random.default_rng(seed).standard_normal((1000, 64, 64, 3), dtype=np.float32)


def skconv_side(seed):
    """Conv2DTransformer with its pooling."""
    import skconv

    X = images(seed)
    layer = skconv.Conv2DTransformer(64, 7, activation="relu", pool=skconv.MaxPool(2), random_state=0).fit(X[:2])
    return lambda: layer.transform(X), {"skconv": skconv.__version__, "numpy": np.__version__}


def pytorch_side(seed, *, channels_last, compiled, batch):
    """The same three modules."""
    import torch

    torch.set_flush_denormal(True)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 7, padding=3), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    X = torch.from_numpy(images(seed).transpose(0, 3, 1, 2).copy())
    if channels_last:
        model, X = model.to(memory_format=torch.channels_last), X.to(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model)
    batches = X.split(batch)

    @torch.inference_mode()
    def step():
        return [model(part) for part in batches]

    return step, {"torch": torch.__version__}


SIDES = {"skconv": skconv_side} | {
    f"PyTorch, channels {'last' if last else 'first'}{', compiled' if compiled else ''}, batches of {batch}":
    functools.partial(pytorch_side, channels_last=last, compiled=compiled, batch=batch)
    for last in (False, True) for compiled in (False, True) for batch in (128, 1000)
}  # fmt: skip

if __name__ == "__main__":
    race.main(__doc__, {"1,000 images 64x64x3": SIDES})
