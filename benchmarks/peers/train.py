"""Worker: train one network on one side in this process, and print the times per step as JSON.

Run by hand: python benchmarks/peers/train.py skconv digits --threads 2 --seconds 2

The last line printed is {"times": [seconds per step, ...], "versions": {...}}, or {"absent": reason} where the side
cannot be imported.
"""

import argparse
import json
import platform

import measure
import networks

PYTORCH = {
    f"PyTorch, {layout}, {mode}": (layout == "channels last", mode == "compiled")
    for mode in ("eager", "compiled")
    for layout in ("channels first", "channels last")
}
SIDES = ("skconv", *PYTORCH)


def start_skconv(name, seed):
    """Return a function that runs n training steps, and the versions in use."""
    import numpy as np

    import skconv

    X, y = networks.random_batch(name, seed)
    step = networks.training_step(networks.build_skconv(name), X, y)
    return step, {"skconv": skconv.__version__, "numpy": np.__version__}


def start_pytorch(name, seed, n_threads, channels_last, compiled):
    """Return a function that runs n training steps, and the versions in use."""
    import torch

    torch.set_num_threads(n_threads)
    # Units that never fire leave denormal moments in Adam, which are slow; threads started from here on inherit this.
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    X, y = networks.random_batch(name, seed)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    X = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    y = torch.from_numpy(y)
    model = networks.build_torch(name).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def loss(X, y):
        return cross_entropy(model(X), y)

    if compiled:
        loss = torch.compile(loss)

    def step(n_steps):
        for _ in range(n_steps):
            optimizer.zero_grad(set_to_none=True)
            loss(X, y).backward()
            optimizer.step()

    return step, {"torch": torch.__version__}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("network", choices=networks.NETWORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        if args.side == "skconv":
            step, versions = start_skconv(args.network, args.seed)
        else:
            step, versions = start_pytorch(args.network, args.seed, args.threads, *PYTORCH[args.side])
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return
    times = measure.time_steps(step, args.seconds)
    print(json.dumps({"times": times, "versions": {"python": platform.python_version(), **versions}}))


if __name__ == "__main__":
    main()
