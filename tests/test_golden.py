"""Training runs against the losses that PyTorch 2.13 reaches from the same weights (benchmarks/peers/golden.py)."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skconv._architecture import bind
from skconv._network import Network
from skconv.layers import AvgPool, BatchNorm, Conv2DTransformer, Dense, Flatten, MaxPool
from skconv.solvers import Settings

LOSSES = {
    "adam": [
        2.349720008580, 2.337471004866, 2.336655556019, 2.286372061971, 2.285864133598, 2.275296688710,
        2.261777846109, 2.258789560641, 2.243189635520, 2.231493323328, 2.225971559652, 2.212275405333,
    ],
    "sgd": [
        2.349720008580, 2.339566274862, 2.348026938148, 2.338049271070, 2.328245613165, 2.327072216644,
        2.323071420720, 2.313523099691, 2.304871954574, 2.308739503839, 2.299134736087, 2.286276508290,
    ],
}  # fmt: skip

NORMALISED_LOSSES = {
    "adam": [
        3.569741013186, 3.343309542052, 3.066160592639, 2.630692582315, 2.497276732304, 2.187784488105,
        2.061924073440, 1.983032390062, 1.775281355518, 1.755171920312, 1.715696617180, 1.638959683451,
    ],
    "sgd": [
        3.569741013186, 3.324665194405, 2.917539222886, 2.401056632397, 2.062326524657, 1.811956988754,
        1.775490294845, 1.647144188046, 1.668091593558, 1.586182909724, 1.484062080502, 1.523455364389,
    ],
}  # fmt: skip
RUNNING = {
    "adam": [
        [0.009671967980, 0.041332026400, -0.009949764596, 0.029833412805, 0.021023841337, 0.002076427225],
        [0.338627510365, 0.320450703869, 0.326994206690, 0.328400240690, 0.325043098219, 0.326297164787],
    ],
    "sgd": [
        [0.002656300123, 0.037275665951, 0.019157580543, 0.142086867100, 0.001497189210, -0.032568249089],
        [0.346259379688, 0.333593867771, 0.338787011652, 0.378388692821, 0.331487320919, 0.335580315916],
    ],
}


def formula(shape):
    n = math.prod(shape)
    return np.sin(np.arange(n) * 1.7 + 0.3).reshape(shape) / math.sqrt(n / shape[-1])


def train(layers, solver, isa):
    """The network after twelve mini-batches, and its losses."""
    network = Network(bind(layers, (8, 8, 1)), dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    for coef in network.coefs:
        if coef.ndim > 1:
            coef[...] = formula(coef.shape)
    settings = Settings(
        solver=solver, schedule="constant", peak={"adam": 0.01, "sgd": 0.05}[solver], power_t=0.5, alpha=0.0,
        momentum=0.9, nesterov=True, beta_1=0.9, beta_2=0.999, epsilon=1e-30,
    )  # fmt: skip
    digits = load_digits()
    x = np.ascontiguousarray(digits.images[:96, :, :, np.newaxis]) / 16
    y = digits.target[:96].astype(np.int32)
    state = network.solver_state()
    losses = []
    for step in range(12):
        order = np.arange(32) + step % 3 * 32
        _, loss, _ = network.train(
            x, y, order, np.array([0, 32]), state=state, solver=solver, rates=settings.rates(step, step, 1, 12),
            settings=settings.for_engine(),
        )  # fmt: skip
        losses.append(loss / 32)
    return network, losses


@pytest.mark.parametrize("solver", LOSSES)
def test_losses_are_those_of_pytorch(solver, isa):
    layers = [
        ("conv1", Conv2DTransformer(6, 3, padding=1, activation="relu")),
        ("pool1", MaxPool(2)),
        ("conv2", Conv2DTransformer(10, 3, padding="valid", activation="tanh")),
        ("pool2", AvgPool(2, stride=1)),
        ("output", Dense(10, activation="identity")),
    ]
    _, losses = train(layers, solver, isa)
    # Printed with twelve decimals; twelve steps amplify rounding little.
    np.testing.assert_allclose(losses, LOSSES[solver], rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", LOSSES)
def test_normalised_losses_and_running_statistics_are_those_of_pytorch(solver, isa):
    layers = [
        ("conv1", Conv2DTransformer(6, 3, padding=1, activation="identity", fit_intercept=False)),
        ("norm1", BatchNorm(activation="relu")),
        ("pool1", MaxPool(2)),
        ("conv2", Conv2DTransformer(10, 3, padding="valid", activation="identity", fit_intercept=False)),
        ("norm2", BatchNorm(activation="tanh")),
        ("pool2", AvgPool(2, stride=1)),
        ("flat", Flatten()),
        ("norm3", BatchNorm()),
        ("output", Dense(10, activation="identity")),
    ]
    network, losses = train(layers, solver, isa)
    np.testing.assert_allclose(losses, NORMALISED_LOSSES[solver], rtol=0, atol=1e-9)
    np.testing.assert_allclose(network.statistics[0], RUNNING[solver], rtol=0, atol=1e-9)
