"""One training run against the losses that PyTorch 2.13 reaches from the same weights (benchmarks/peers/golden.py)."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skconv import _engine
from skconv._architecture import bind
from skconv._network import Network
from skconv.layers import AvgPool, Conv2DTransformer, Dense, MaxPool
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


def formula(shape):
    n = math.prod(shape)
    return np.sin(np.arange(n) * 1.7 + 0.3).reshape(shape) / math.sqrt(n / shape[-1])


@pytest.mark.parametrize("isa", _engine.available_isas())
@pytest.mark.parametrize("solver", LOSSES)
def test_losses_are_those_of_pytorch(solver, isa):
    layers = [
        ("conv1", Conv2DTransformer(6, 3, padding=1, activation="relu")),
        ("pool1", MaxPool(2)),
        ("conv2", Conv2DTransformer(10, 3, padding="valid", activation="tanh")),
        ("pool2", AvgPool(2, stride=1)),
        ("output", Dense(10, activation="identity")),
    ]
    network = Network(bind(layers, (8, 8, 1)), dtype="float64", isa=isa)
    for coef in network.coefs:
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
    # Printed with twelve decimals; twelve steps amplify rounding little.
    np.testing.assert_allclose(losses, LOSSES[solver], rtol=0, atol=1e-10)
