"""Worker: single-sample stochastic gradient descent on the network of LeCun et al. (1989), on one side.

Run by hand: python benchmarks/peers/lecun1989.py skconv usps-1989 --threads 1 --seconds 2

16x16x1, H1 12 filters 5x5 with stride 2, H2 12 filters 5x5 with stride 2 on eight maps of H1 each, dense 30, dense 10;
tanh everywhere, half the mean squared error towards 1 and -1, a step per image, rate 0.01. Zero padding on both sides,
because any other would cost PyTorch two more operations (benchmarks/tasks.py, which is after accuracy, continues the
border). 256 random images stay in memory, one after the other.

PyTorch computes H2 in two ways: with its table of connections, by a mask over the weights in every step, and without,
as a dense convolution that learns connections the network does not have: less work for it, and the faster counts.
Compared with skconv are the losses of the first steps, those without a mask over the first step only.
"""

import numpy as np
from worker import Task, main

CASE = "usps-1989"
PYTORCH = {
    f"PyTorch, {layout}, {kind}": (layout == "channels last", kind == "masked")
    for kind in ("masked", "dense")
    for layout in ("channels first", "channels last")
}
SIDES = ("skconv", *PYTORCH)
N_IMAGES, RATE = 256, 0.01
SHAPES = ((5, 5, 1, 12), (5, 5, 12, 12), (192, 30), (30, 10))


def connections():
    """Which maps of H1 feed which of H2, as in benchmarks/tasks.py."""
    return np.array([[(i - j) % 12 < 8 for j in range(12)] for i in range(12)])


def data(seed):
    """Images, labels and first weights."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N_IMAGES, 16, 16, 1), dtype=np.float32)
    y = rng.permutation(np.arange(N_IMAGES) % 10)
    weights = []
    for shape in SHAPES:
        coef = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))
        weights.append((coef, np.zeros(shape[-1], dtype=np.float32)))
    weights[1] = (weights[1][0] * connections(), weights[1][1])
    return X, y, weights


def start_skconv(seed):
    """See worker.prepare."""
    import networks

    import skconv
    from skconv import CNNClassifier, Conv2DTransformer, Dense

    X, y, weights = data(seed)
    window = dict(kernel_size=5, stride=2, padding=2, activation="tanh")
    clf = CNNClassifier(
        layers=[
            ("H1", Conv2DTransformer(12, **window)),
            ("H2", Conv2DTransformer(12, connections=connections(), **window)),
            ("H3", Dense(30, activation="tanh")),
        ],
        loss="squared_error", solver="sgd", batch_size=1, learning_rate="constant", learning_rate_init=RATE,
        momentum=0.0, nesterovs_momentum=False, alpha=0.0, standardize=False, random_state=0,
    )  # fmt: skip
    step = networks.training_step(clf, X, y, weights)
    loss = step(1)
    return Task(step, [loss], {"skconv": skconv.__version__, "numpy": np.__version__})


def start_pytorch(seed, n_threads, channels_last, masked):
    """See worker.prepare."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
    X, y, weights = data(seed)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = [torch.from_numpy(image[None]).permute(0, 3, 1, 2).contiguous(memory_format=memory_format) for image in X]
    targets = torch.full((N_IMAGES, 1, 10), -1.0)
    targets[range(N_IMAGES), 0, y] = 1
    targets = list(targets)
    # The first dense layer sees channels first: its rows are in another order.
    coefs = [coef for coef, _ in weights]
    coefs[2] = coefs[2].reshape(16, 12, 30).swapaxes(0, 1).reshape(192, 30)
    parameters = []
    for coef in coefs:
        values = torch.from_numpy(np.ascontiguousarray(coef.transpose(3, 2, 0, 1) if coef.ndim == 4 else coef.T))
        if coef.ndim == 4:
            values = values.contiguous(memory_format=memory_format)
        parameters += [nn.Parameter(values), nn.Parameter(torch.zeros(coef.shape[-1]))]
    w1, b1, w2, b2, w3, b3, w4, b4 = parameters
    mask = torch.from_numpy(connections().T.astype(np.float32)[:, :, None, None])
    optimizer = torch.optim.SGD(parameters, lr=RATE, fused=True)
    position = 0

    def loss_of(x, target):
        h = torch.tanh(functional.conv2d(x, w1, b1, 2, 2))
        h = torch.tanh(functional.conv2d(h, w2 * mask if masked else w2, b2, 2, 2))
        h = torch.tanh(functional.linear(h.flatten(1), w3, b3))
        return functional.mse_loss(torch.tanh(functional.linear(h, w4, b4)), target) / 2

    def step(n_steps):
        nonlocal position
        for _ in range(n_steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(images[position], targets[position])
            loss.backward()
            optimizer.step()
            position = (position + 1) % N_IMAGES
        return loss

    return Task(step, [step(1).item()], {"torch": torch.__version__})


def prepare(side, case, seed, n_threads):
    """See worker.py."""
    return start_skconv(seed) if side == "skconv" else start_pytorch(seed, n_threads, *PYTORCH[side])


if __name__ == "__main__":
    main(__doc__, prepare, SIDES, lambda name: name == CASE)
