"""Worker: train one network on one side in this process, and print the times per step as JSON.

Run by hand: python benchmarks/peers/train.py skconv digits keras --threads 2 --seconds 2

A case is a network of networks.py; "direct:" before it keeps skconv's convolutions to the direct algorithm. Compared
with the other sides are the losses of the first steps, from the same weights on the same images.
"""

import math

import networks
import numpy as np
from worker import Task, main

PYTORCH = {
    f"PyTorch, {layout}, {mode}": (layout == "channels last", mode == "compiled")
    for mode in ("eager", "compiled")
    for layout in ("channels first", "channels last")
}
SIDES = ("skconv", *PYTORCH)
# A third loss tells nothing: one winner of a max pooling that rounding decides moves it by up to 3 % behind two steps
# of Adam, whose size does not shrink with the gradient. Two losses of `cifar` agree to 5e-5.
COMPARED_STEPS = 2


def start_skconv(name, seed, algorithm):
    """See worker.prepare."""
    import skconv

    X, y = networks.random_batch(name, seed)
    clf = networks.build_skconv(name, algorithm)
    step = networks.training_step(clf, X, y, networks.first_weights(name, seed))
    losses = [step(1) for _ in range(COMPARED_STEPS)]
    return Task(step, losses, {"skconv": skconv.__version__, "numpy": np.__version__})


def start_pytorch(name, seed, n_threads, channels_last, compiled):
    """See worker.prepare."""
    import torch

    torch.set_num_threads(n_threads)
    # Units that never fire leave denormal moments in Adam, which are slow; threads started from here on inherit this.
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    X, y = networks.random_batch(name, seed)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    X = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    y = torch.from_numpy(y)
    model = networks.build_torch(name)
    networks.fill_torch(model, name, networks.first_weights(name, seed))
    model = model.to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def loss(X, y):
        return cross_entropy(model(X), y)

    if compiled:
        loss = torch.compile(loss)

    def step(n_steps):
        for _ in range(n_steps):
            optimizer.zero_grad(set_to_none=True)
            value = loss(X, y)
            value.backward()
            optimizer.step()
        return value

    losses = []
    group = optimizer.param_groups[0]
    epsilon, beta_2 = group["eps"], group["betas"][1]
    for t in range(1, COMPARED_STEPS + 1):
        # scikit-learn and skconv add epsilon before the bias is corrected: the direct algorithm's first three
        # losses of `cifar` are then PyTorch's to 1e-4, and otherwise off by 3e-3.
        group["eps"] = epsilon / math.sqrt(1 - beta_2**t)
        losses.append(step(1).item())
    group["eps"] = epsilon
    return Task(step, losses, {"torch": torch.__version__})


def prepare(side, case, seed, n_threads):
    """See worker.py."""
    algorithm = "direct" if case.startswith("direct:") else "auto"
    name = case.removeprefix("direct:")
    if side == "skconv":
        return start_skconv(name, seed, algorithm)
    return start_pytorch(name, seed, n_threads, *PYTORCH[side])


def is_case(name):
    """Whether a name can be read."""
    return name.removeprefix("direct:") in networks.NETWORKS


if __name__ == "__main__":
    main(__doc__, prepare, SIDES, is_case)
