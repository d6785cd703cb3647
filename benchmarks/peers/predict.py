"""Worker: predict class probabilities with one network on one side.

Run by hand: python benchmarks/peers/predict.py skconv lenet5/1 keras/128 --threads 2 --seconds 1

A case is network/images per call. Every side has the same weights and the same random images, in the layout that it
likes best; it allocates its result, ten numbers per image. skconv's side is `clf.predictor()` where this version has
it, and `clf.predict_proba` otherwise; which of them is noted in the result.
"""

import copy
import warnings

import networks
import numpy as np
from worker import Task, main, repeat, some_values

PYTORCH = ("PyTorch, channels first", "PyTorch, channels last")
SIDES = ("skconv", "skconv, estimator", "ONNX Runtime", "OpenVINO", *PYTORCH)


def images(name, n, seed):
    """Float32 images, channels last."""
    shape = networks.NETWORKS[name].image_shape
    return np.random.default_rng([seed, n]).standard_normal((n, *shape), dtype=np.float32)


def start_skconv(side, name, X, weights):
    """See worker.prepare."""
    import skconv

    clf = networks.build_skconv(name, max_iter=1)
    first, labels = networks.random_batch(name, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one epoch is not enough
        clf.fit(first, labels)
    networks.fill_skconv(clf.coefs_, clf.intercepts_, weights)
    clf = copy.deepcopy(clf)  # as loaded from a file: whoever has held its weights may change them between two calls
    how = "predict_proba"
    call = clf.predict_proba
    if side == "skconv" and hasattr(clf, "predictor"):
        how, call = "predictor()", clf.predictor().predict_proba
    versions = {"skconv": skconv.__version__, "numpy": np.__version__}
    return Task(repeat(lambda: call(X)), some_values(call(X)), versions, notes={"skconv's way": how})


def start_pytorch(side, name, X, weights, n_threads):
    """See worker.prepare."""
    import torch

    torch.set_num_threads(n_threads)
    memory_format = torch.channels_last if side.endswith("last") else torch.contiguous_format
    model = networks.build_torch(name)
    networks.fill_torch(model, name, weights)
    model = model.append(torch.nn.Softmax(dim=1)).eval().to(memory_format=memory_format)
    x = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)

    def step(n_steps):
        with torch.inference_mode():
            for _ in range(n_steps):
                y = model(x)
        return y

    return Task(step, some_values(step(1).numpy()), {"torch": torch.__version__})


def prepare(side, case, seed, n_threads):
    """See worker.py."""
    name, _, n = case.partition("/")
    X, weights = images(name, int(n), seed), networks.first_weights(name, seed)
    if side.startswith("skconv"):
        return start_skconv(side, name, X, weights)
    if side in PYTORCH:
        return start_pytorch(side, name, X, weights, n_threads)
    import graphs

    start = graphs.onnxruntime_call if side == "ONNX Runtime" else graphs.openvino_call
    model = graphs.network(name, weights, len(X))
    call, versions = start(model, np.ascontiguousarray(X.transpose(0, 3, 1, 2)), n_threads)
    return Task(repeat(call), some_values(call()), versions)


def is_case(name):
    """Whether a name can be read."""
    network, _, n = name.partition("/")
    return network in networks.NETWORKS and n.isdigit() and int(n) > 0


if __name__ == "__main__":
    main(__doc__, prepare, SIDES, is_case)
