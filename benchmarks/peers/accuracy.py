"""Whether PyTorch, trained in the same way, is any better: the default networks, seed by seed, on both sides.

    SKCONV_DATA=/folder/with/data python benchmarks/peers/accuracy.py [mnist cifar10 angle] [--seeds 0 1 2]
        [--threads 2] [--peer-python PATH] [--json FILE] [--side skconv]

    mnist     the default CNNClassifier
    cifar10   the default CNNClassifier for 10 epochs
    angle     the default CNNRegressor on the angle of rotated digits (benchmarks/tasks.py)

PyTorch gets the layers that the fitted estimator names, and its training: He's or Glorot's uniform first weights, made
smaller before the outputs, one mean and deviation per channel, dropout at the same places, mini-batches of the same
size over as many epochs, Adam with its L2 penalty on weights, and the one-cycle schedule. Each fit has a process of its
own. PyTorch counts as better where its mean is higher by more than two standard errors of the difference of the means.

With --json, figures found before are kept, seed by seed. Exit status: 0; 1 if PyTorch is better at any task.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))  # for data.py and tasks.py

SEEDS = {"mnist": 5, "cifar10": 3, "angle": 5}


# ---- data and estimators ---------------------------------------------------------------------------------------------


def load(task, seed):
    """X, y, X_test, y_test of a task."""
    import data
    import tasks

    return {"mnist": data.mnist, "cifar10": data.cifar10, "angle": lambda: tasks.rotated_digits(seed)}[task]()


def estimator(task, seed):
    """The unfitted estimator of a task."""
    import skconv

    if task == "angle":
        return skconv.CNNRegressor(random_state=seed)
    return skconv.CNNClassifier(max_iter=10 if task == "cifar10" else "auto", random_state=seed)


# ---- skconv ----------------------------------------------------------------------------------------------------------

# What PyTorch is told of the estimator; the others must have the values that mean nothing is done.
TOLD = ("learning_rate_init", "alpha", "beta_1", "beta_2", "epsilon", "label_smoothing")
ABSENT = {"solver": "adam", "learning_rate": "one_cycle", "augment": None, "ema_decay": None, "clip_norm": None,
          "l1_ratio": 0.0, "early_stopping": False}  # fmt: skip


def train_skconv(task, seed, arrays):
    """Fit the estimator; return its score, the seconds, and what PyTorch must do to be the same."""
    from skconv._fitted import _FIRST_OUTPUTS

    X, y, X_test, y_test = arrays
    est = estimator(task, seed)
    parameters = est.get_params(deep=False)
    for name, value in ABSENT.items():
        if parameters.get(name, value) != value:
            raise SystemExit(f"the default {name}={parameters[name]!r} has no counterpart in this script")
    start = time.perf_counter()
    est.fit(X, y)
    seconds = time.perf_counter() - start
    recipe = {name: parameters.get(name, 0.0) for name in TOLD}
    recipe |= {
        "layers": [[kind, values] for _, kind, values in est.architecture_],
        "epochs": est.n_iter_,
        "batch_size": est._batch_size(len(X)),
        "first_outputs": _FIRST_OUTPUTS,
        "standardize": est.standardize,
        "loss": "squared_error" if task == "angle" else "log_loss",
    }
    return {"value": est.score(X_test, y_test), "seconds": seconds, "recipe": json.loads(json.dumps(recipe))}


# ---- PyTorch ---------------------------------------------------------------------------------------------------------

RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu")


def build_torch(layers, in_shape):
    """The layers as a `torch.nn.Sequential` with the same first weights' distribution; images channels first."""
    import torch
    from torch import nn

    activations = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "elu": nn.ELU, "gelu": nn.GELU}
    modules, x = [], torch.zeros(2, *in_shape)

    def add(module, activation="identity"):
        nonlocal x
        modules.append(module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            if activation in RECTIFIERS:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if activation != "identity":
            modules.append(activations[activation]())
        with torch.no_grad():
            x = module(x)

    for kind, values in layers:
        if kind == "Conv2DTransformer":
            expected = {"stride": 1, "dilation": 1, "groups": 1, "connections": None, "pool": None, "filters": "random"}
            if any(values[name] != value for name, value in expected.items()):
                raise SystemExit(f"this script cannot build {kind} with {values}")
            conv = nn.Conv2d(
                x.shape[1], values["n_filters"], values["kernel_size"], padding=values["padding"],
                bias=values["fit_intercept"],
            )  # fmt: skip
            add(conv, values["activation"])
        elif kind in ("MaxPool", "AvgPool"):
            add((nn.MaxPool2d if kind == "MaxPool" else nn.AvgPool2d)(values["kernel_size"], values["stride"]))
        elif kind == "GlobalPool":
            add(nn.AdaptiveAvgPool2d(1))
        elif kind == "Dropout":
            add(nn.Dropout(values["rate"]))
        elif kind == "BatchNorm":
            norm = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
            add(norm(x.shape[1], eps=values["epsilon"], momentum=1 - values["momentum"]), values["activation"])
        elif kind == "Dense":
            if x.ndim == 4:
                add(nn.Flatten())
            add(nn.Linear(x.shape[1], values["n_units"]), values["activation"])
        elif kind == "Flatten":
            add(nn.Flatten())
        else:
            raise SystemExit(f"this script cannot build a {kind}")
    return nn.Sequential(*modules)


def train_torch(seed, arrays, recipe, n_threads):
    """Train the same network in the same way; return the score on the test data and the seconds."""
    import torch

    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    is_regression = recipe["loss"] == "squared_error"
    X, y, X_test, y_test = arrays
    X, X_test = (x.reshape(*x.shape[:3], -1).transpose(0, 3, 1, 2) for x in (X, X_test))
    model = build_torch(recipe["layers"], X.shape[1:]).to(memory_format=torch.channels_last)
    with torch.no_grad():
        model[-1].weight *= recipe["first_outputs"]
    mean = torch.tensor(X.mean(axis=(0, 2, 3)), dtype=torch.float32)[:, None, None]
    deviation = torch.tensor(X.std(axis=(0, 2, 3)), dtype=torch.float32)[:, None, None]
    if not recipe["standardize"]:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    X, X_test = torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(np.ascontiguousarray(X_test))
    if is_regression:  # the regressor standardises its targets
        centre, scale = y.mean(), y.std()
        targets = torch.tensor((y - centre) / scale, dtype=torch.float32)[:, None]

        def loss_of(outputs, expected):
            return 0.5 * (outputs - expected).square().mean()
    else:
        targets = torch.tensor(y)
        loss_of = torch.nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])

    def images(x):
        return ((x.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)

    n, batch_size, epochs = len(X), recipe["batch_size"], recipe["epochs"]
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.Adam(
        # skconv divides the penalty by the size of the mini-batch, as MLPClassifier does.
        [{"params": weights, "weight_decay": recipe["alpha"] / batch_size}, {"params": others}],
        lr=recipe["learning_rate_init"], betas=(recipe["beta_1"], recipe["beta_2"]), eps=recipe["epsilon"], fused=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe["learning_rate_init"], total_steps=epochs * -(-n // batch_size), cycle_momentum=False
    )
    start = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for part in torch.randperm(n).split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(images(X[part])), targets[part])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
        print(f"epoch {epoch + 1}, loss {total / n:.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(images(x)) for x in X_test.split(1000)]).numpy()
    if is_regression:
        from_mean = y_test - y_test.mean()
        value = 1 - np.sum((outputs[:, 0] * scale + centre - y_test) ** 2) / np.sum(from_mean**2)
    else:
        value = np.mean(outputs.argmax(axis=1) == y_test)
    return {"value": float(value), "seconds": seconds, "torch": torch.__version__}


# ---- the race --------------------------------------------------------------------------------------------------------


def run(side, task, seed, args, folder, recipe=None):
    """One fit in a process of its own."""
    python = args.peer_python if side == "torch" else sys.executable
    arrays = folder / "arrays.npz"
    np.savez(arrays, *load(task, seed))
    (folder / "recipe.json").write_text(json.dumps(recipe))
    command = [python, __file__, task, "--worker", side, "--seeds", str(seed), "--threads", str(args.threads)]
    command += ["--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True,
                          stderr=None if side == "skconv" else subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side}, {task}, seed {seed}: ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def work(args):
    """One fit in this process."""
    folder = Path(args.folder)
    with np.load(folder / "arrays.npz") as file:
        arrays = [file[f"arr_{i}"] for i in range(4)]
    task, seed = args.task[0], args.seeds[0]
    if args.worker == "skconv":
        result = train_skconv(task, seed, arrays)
    else:
        result = train_torch(seed, arrays, json.loads((folder / "recipe.json").read_text()), args.threads)
    print(json.dumps(result))


def verdict(own, peer):
    """Means, deviations, and how many standard errors of the difference PyTorch is better by.

    Parameters
    ----------
    own, peer : list of float
        Scores of skconv and of PyTorch, two or more each.

    Returns
    -------
    dict
    """
    sides = {}
    for name, values in (("skconv", own), ("PyTorch", peer)):
        deviation = float(np.std(values, ddof=1))
        sides[name] = {"mean": float(np.mean(values)), "deviation": deviation, "error": deviation / len(values) ** 0.5}
    difference = sides["PyTorch"]["mean"] - sides["skconv"]["mean"]
    error = float(np.hypot(sides["skconv"]["error"], sides["PyTorch"]["error"]))
    return sides | {"difference": difference, "error": error, "is_peer_better": difference > 2 * error}


def report(task, found):
    """The rows of a Markdown table, and whether PyTorch is better."""
    values = {side: [result["value"] for result in found[side].values()] for side in ("skconv", "torch")}
    if min(map(len, values.values())) < 2:
        return [f"{task}: fewer than two seeds of either side, no verdict"], False
    result = verdict(values["skconv"], values["torch"])
    rows = []
    for side, key in (("skconv", "skconv"), ("PyTorch", "torch")):
        numbers = result[side]
        seconds = np.median([one["seconds"] for one in found[key].values()])
        rows.append(
            f"| {task} | {side} | {numbers['mean']:.4f} | {numbers['deviation']:.4f} | {numbers['error']:.4f} "
            f"| {len(values[key])} | {seconds:.0f} |"
        )
    rows.append(
        f"| {task} | PyTorch - skconv | {result['difference']:+.4f} | | {result['error']:.4f} | | PyTorch better by "
        f"more than two standard errors: {'**yes**' if result['is_peer_better'] else 'no'} |"
    )
    return rows, result["is_peer_better"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="*", choices=[[], *SEEDS], metavar="TASK", help=", ".join(SEEDS))
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 5 for mnist and angle, 3 for cifar10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", metavar="PATH", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--side", nargs="+", choices=("skconv", "torch"), default=["skconv", "torch"])
    parser.add_argument("--json", metavar="FILE", help="keep the figures here, and start from those it has")
    parser.add_argument("--worker", choices=("skconv", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    figures = {}
    if args.json and Path(args.json).is_file():
        figures = json.loads(Path(args.json).read_text(encoding="utf-8"))
    rows = ["| task | side | mean | deviation | standard error | seeds | median s |", "|---|---|---|---|---|---|---|"]
    is_worse = False
    for task in args.task or SEEDS:
        found = figures.setdefault(task, {"skconv": {}, "torch": {}})
        for seed in args.seeds or range(SEEDS[task]):
            for side in args.side:
                if str(seed) in found[side]:
                    continue
                if side == "torch" and not found["skconv"]:
                    parser.error(f"{task}: PyTorch copies a network that skconv has trained; run --side skconv first")
                recipe = None if side == "skconv" else next(iter(found["skconv"].values()))["recipe"]
                with tempfile.TemporaryDirectory() as folder:
                    found[side][str(seed)] = result = run(side, task, seed, args, Path(folder), recipe)
                print(f"{task}, {side}, seed {seed}: {result['value']:.4f}, {result['seconds']:.0f} s", flush=True)
                if args.json:
                    Path(args.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
        lines, is_better = report(task, found)
        rows += lines
        is_worse |= is_better
    print("\n".join(rows))
    return int(is_worse)


if __name__ == "__main__":
    sys.exit(main())
