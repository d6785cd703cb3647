"""Which algorithm computes a convolution, and what `convolution_plan` tells of it."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skconv.functional import conv, convolution_plan

X = np.zeros((2, 6, 6, 4), np.float32)
W = np.zeros((8, 3, 3, 4), np.float32)


@pytest.mark.parametrize(
    "x_shape, weights_shape, options, algorithm, reason",
    [
        ((8, 16, 16, 64), (64, 3, 3, 64), dict(padding="same"), "winograd", "a 3x3 kernel on 64 channels"),
        ((8, 16, 16, 64), (64, 3, 3, 64), dict(algorithm="direct"), "direct", "asked for"),
        ((8, 16, 16, 16), (16, 3, 3, 16), dict(algorithm="winograd"), "winograd", "asked for"),
        ((8, 16, 16, 64), (64, 3, 3, 64), dict(stride=2), "direct", "needs a 3x3 or 5x5 kernel, stride 1"),
        ((8, 16, 16, 64), (64, 3, 3, 32), dict(groups=2), "direct", "in 2 groups"),
        ((8, 4, 4, 16), (64, 3, 3, 16), dict(padding="same"), "winograd", "a 3x3 kernel on 16 channels"),
        ((2, 7, 7, 130), (128, 3, 3, 130), dict(padding="same"), "direct", "saves on 4 tiles"),
        ((8, 6, 6, 64), (64, 3, 3, 64), dict(padding="same"), "direct", "6x6 pixels fill the 4x4 tiles"),
        ((8, 16, 3, 64), (64, 3, 3, 64), {}, "direct", "14x1 pixels fill"),
        ((8, 30, 64), (64, 3, 64), {}, "direct", "needs a 3x3 or 5x5 kernel"),
        ((8, 16, 16, 16), (16, 5, 5, 16), {}, "winograd", "a 5x5 kernel on 16 channels with 16 filters: 64 mult"),
        ((8, 7, 8, 64), (64, 5, 5, 64), dict(padding="same"), "winograd", "64 multiplications in place of 400"),
        ((8, 6, 6, 64), (64, 5, 5, 64), dict(padding="same"), "winograd", "a 5x5 kernel"),
        ((8, 5, 5, 64), (64, 5, 5, 64), dict(padding="same"), "direct", "on 5x5 pixels it leaves out many taps"),
        ((8, 9, 9, 64), (64, 5, 5, 64), {}, "winograd", "a 5x5 kernel"),
        ((8, 6, 9, 64), (64, 5, 5, 64), {}, "direct", "2x5 pixels fill the 4x4 tiles"),
        ((8, 8, 8, 64), (64, 5, 5, 64), {}, "winograd", "a 5x5 kernel"),
        ((2, 6, 6, 256), (257, 5, 5, 256), dict(padding="same"), "direct", "saves on 4 tiles of 4x4"),
        ((2, 16, 16, 64), (64, 3, 5, 64), {}, "direct", "needs a 3x3 or 5x5 kernel"),
        ((2, 30, 64), (64, 5, 64), {}, "direct", "needs a 3x3 or 5x5 kernel"),
        ((2, 8, 8, 6), (32, 3, 3, 6), dict(padding="same"), "winograd", "a 3x3 kernel on 6 channels with 32 filters"),
        ((2, 8, 8, 6), (31, 3, 3, 6), dict(padding="same"), "direct", "6 channels and 31 filters"),
        ((2, 8, 8, 5), (64, 3, 3, 5), dict(padding="same"), "direct", "5 channels and 64 filters"),
        ((2, 14, 14, 6), (64, 3, 3, 6), dict(padding="same"), "direct", "14x14 pixels fill"),
        ((2, 14, 14, 6), (16, 5, 5, 6), dict(padding="same"), "winograd", "a kernel of 5 rows, line by line"),
        ((2, 14, 14, 6), (64, 5, 5, 6), dict(padding="same"), "winograd", "a 5x5 kernel on 6 channels"),
        ((1, 3, 10, 10, 20), (17, 1, 5, 5, 20), {}, "winograd", "a 5x5 kernel"),
        ((1, 3, 10, 10, 20), (17, 2, 5, 5, 20), {}, "direct", "needs a 3x3 or 5x5 kernel"),
    ],
)
def test_plan_tells_what_runs(x_shape, weights_shape, options, algorithm, reason):
    plan = convolution_plan(x_shape, weights_shape, **options)
    assert plan.algorithm == algorithm and reason in plan.reason
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=x_shape).astype(np.float32), rng.normal(size=weights_shape)
    y = conv(x, weights, **options)
    assert plan.output_shape == y.shape and plan.result_bytes == y.nbytes
    direct = conv(x, weights, **{**options, "algorithm": "direct"})
    assert (y != direct).any() == (algorithm == "winograd")
    terms = y.size * np.prod(weights_shape[1:])
    if algorithm == "direct":
        assert plan.n_multiplications == terms
    elif "line by line" in reason:  # test_winograd_lines.py
        assert plan.n_multiplications < terms / 2
    else:
        n_planes = (weights_shape[-2] + 3) ** 2
        n_tiles = math.prod(y.shape[:-3]) * -(-y.shape[-3] // 4) * -(-y.shape[-2] // 4)
        assert plan.n_multiplications == n_planes * n_tiles * weights_shape[0] * weights_shape[-1] < terms / 2
        assert plan.n_bytes > 4 * n_planes * weights_shape[0] * weights_shape[-1]  # its weights
    assert f"{algorithm}: " in str(plan) and plan.reason in str(plan)


def test_plan_counts_memory():
    with threadpool_limits(1):
        plan = convolution_plan((1, 1000, 2000, 3), (40, 5, 5, 3), padding="same")
        twice = convolution_plan((1, 1000, 2000, 3), (40, 5, 5, 3), padding="same", dtype="float64")
    padded = 4 * (1004 * 2004 * 3)
    assert padded + 4 * 40 * 8 * 5 * 3 < plan.n_bytes < 1.1 * padded  # with the transformed weights
    assert "memory           23." in str(plan) and "MiB beside input and output, 1 thread(s)" in str(plan)
    assert 1.9 < twice.n_bytes / plan.n_bytes < 2.1
    assert twice.result_bytes == 2 * plan.result_bytes == 2 * 4 * 1000 * 2000 * 40


def test_plan_counts_threads():
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            assert convolution_plan((100, 64, 64, 16), (16, 5, 5, 16)).n_threads == n_threads
    assert convolution_plan((1, 8, 8, 1), (1, 3, 3, 1)).n_threads == 1
    for dtype in (np.float64, np.dtype(np.float64)):
        assert convolution_plan(X.shape, W.shape, dtype=dtype) == convolution_plan(X.shape, W.shape, dtype="float64")


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        (((8, 8), (1, 3)), {}, ValueError, "x_shape must be"),
        ((np.ones((1, 8, 8, 1)), (1, 3, 3, 1)), {}, TypeError, r"x_shape must be a shape, got an array; use x\.shape"),
        (((1, 8, 8, 1), W), {}, TypeError, r"use weights\.shape"),
        (((1, 8, 8, 1), (1, 3, 3, 1)), dict(dtype=int), ValueError, "dtype must be one of"),
        (((1, 8, 0, 1), (1, 3, 3, 1)), {}, ValueError, r"x_shape\[2\] must be at least 1"),
        (((1, 8, 8, 1), (1, 3, 1)), {}, ValueError, "weights_shape must be"),
        (((1, 8, 8, 1), (1, 3, 3, 1)), dict(dtype="float16"), ValueError, "dtype must be one of"),
        (((1, 8, 8, 1), (1, 9, 3, 1)), {}, ValueError, "does not fit"),
    ],
)
def test_bad_input_to_convolution_plan(arguments, options, error, message):
    with pytest.raises(error, match=message):
        convolution_plan(*arguments, **options)
