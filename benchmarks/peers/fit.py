"""Worker: whole fits. Prints what it measured as JSON.

    python benchmarks/peers/fit.py mnist --side skconv --epochs 3 --images 60000
    python benchmarks/peers/fit.py memory --images 50000
    python benchmarks/peers/fit.py grid --jobs 2 --candidates 40

`mnist` trains the network `keras` on MNIST (from the folder in SKCONV_DATA); benchmarks/peers takes the time of the
whole process, import and reading included. PyTorch has a TensorDataset of float32 images and a DataLoader without
worker processes; skconv has the same images as a float32 array. `memory` fits `cifar` on random uint8 images for one
epoch and tells how far the process rose above what import and data take. `grid` searches a grid with warm workers.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
import warnings
from pathlib import Path

import networks
import numpy as np

SIDES = ("skconv", "PyTorch, channels first", "PyTorch, channels last")
GRID_SECONDS = 65.0  # of the grid on one worker
FOLDS = 3


def mnist(side, epochs, n_images, n_threads):
    """Train; return the mean loss of the last epoch and the versions."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import data

    X, y, _, _ = data.mnist()
    X, y = X[:n_images, ..., None].astype(np.float32) / 255, y[:n_images]
    if side == "skconv":
        import skconv

        clf = networks.build_skconv("keras", max_iter=epochs)
        clf.fit(X, y)
        return clf.loss_curve_[-1], {"skconv": skconv.__version__, "numpy": np.__version__}
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    memory_format = torch.channels_last if side.endswith("last") else torch.contiguous_format
    # One channel: the bytes of both layouts are the same.
    images = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    loader = DataLoader(TensorDataset(images, torch.from_numpy(y)), batch_size=128, shuffle=True, num_workers=0)
    model = networks.build_torch("keras").to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        total = 0.0
        for batch, labels in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(batch), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
    return total / len(X), {"torch": torch.__version__}


def status(name):
    """A size in bytes from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")


def memory(n_images):
    """Bytes that a fit of `cifar` takes at most beyond what was there before."""
    import skconv

    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n_images, 32, 32, 3), dtype=np.uint8)
    y = np.arange(n_images) % 10
    clf = networks.build_skconv("cifar", max_iter=1)
    before = status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        before = max(before, status("VmHWM"))
    clf.fit(X, y)
    return status("VmHWM") - before, {"skconv": skconv.__version__, "numpy": np.__version__}


def grid(n_jobs, n_candidates, n_threads, seconds):
    """Seconds of a grid search, and the number of its candidates, found on one worker where it is 0."""
    import joblib
    import sklearn
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    import skconv

    if hasattr(os, "sched_setaffinity"):  # as many cores as threads: what joblib shares out among its workers
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])
    X, y = load_digits(return_X_y=True)
    X = (X / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    clf = networks.build_skconv("digits", max_iter=100, n_iter_no_change=100)
    clf.fit(X, y)
    if not n_candidates:
        start = time.perf_counter()
        clf.fit(X[: len(X) * (FOLDS - 1) // FOLDS], y[: len(X) * (FOLDS - 1) // FOLDS])
        n_candidates = max(2, math.ceil(seconds / (FOLDS * (time.perf_counter() - start))))
    search = GridSearchCV(clf, {"alpha": np.logspace(-6, -2, n_candidates)}, cv=FOLDS, n_jobs=n_jobs, refit=False)
    # The workers import and run once: joblib keeps them.
    joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(clf.fit)(X[:300], y[:300]) for _ in range(2 * n_jobs))
    start = time.perf_counter()
    search.fit(X, y)
    elapsed = time.perf_counter() - start
    score = float(np.max(search.cv_results_["mean_test_score"]))
    versions = {"skconv": skconv.__version__, "scikit-learn": sklearn.__version__, "joblib": joblib.__version__}
    return elapsed, n_candidates, score, versions


def main():
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("mnist", "memory", "grid"))
    parser.add_argument("--side", choices=SIDES, default="skconv")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=60000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=GRID_SECONDS, help="of a grid on one worker")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*onverge.*|.*iterations.*")
    try:
        if args.what == "mnist":
            loss, versions = mnist(args.side, args.epochs, args.images, args.threads)
            result = {"loss": loss}
        elif args.what == "memory":
            size, versions = memory(args.images)
            result = {"bytes": size}
        else:
            elapsed, n_candidates, score, versions = grid(args.jobs, args.candidates, args.threads, args.seconds)
            result = {"seconds": elapsed, "candidates": n_candidates, "score": score}
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return
    versions = {"python": platform.python_version(), **versions}
    print(json.dumps({**result, "processor_seconds": time.process_time(), "versions": versions}))


if __name__ == "__main__":
    main()
