"""ONNX's own test cases of convolution and pooling, run through `skconv.functional` with the channels moved last.

The cases are those of the operators, which onnx generates, and those that were converted from PyTorch, which it
carries. Whole networks among its test cases are none of these.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

from skconv import functional

# Cases that do not apply, and why.
NOT_RUN = {
    **dict.fromkeys(
        (
            f"test_causal_conv_with_state_{name}_expanded"
            for name in (
                "b1_c1_degenerate", "basic", "decode_step", "fp16", "kernel_size_one", "short_input_no_past_state",
                "silu", "silu_fp16", "silu_with_past_state", "swish_alias", "with_bias", "with_bias_and_past_state",
                "with_past_state",
            )
        ),
        "the function body of CausalConvWithState: a graph of a dozen operators, one of which is Conv",
    ),
    **dict.fromkeys(("test_AvgPool1d", "test_AvgPool1d_stride"), "a graph of Unsqueeze, AveragePool and Squeeze"),
}  # fmt: skip


# Cases whose expected values were written down with four digits.
FOUR_DIGITS = ("test_averagepool_2d_ceil_last_window_starts_on_pad",)


class Case(NamedTuple):
    name: str
    operators: list
    attributes: dict
    inputs: list
    outputs: list


def generated_cases():
    """The cases of single operators that onnx generates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from formulas of other operators
        cases = collect_testcases(None)
    for case in cases:
        graph = case.model.graph
        yield case.name, graph, case.data_sets[0][0], case.data_sets[0][1]


def stored_cases():
    """The cases that onnx carries as files; weights are part of the graph."""

    def read(path):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        return onnx.numpy_helper.to_array(tensor)

    for kind in ("pytorch-converted", "pytorch-operator"):
        for case in load_model_tests(kind=kind):
            graph = onnx.load(Path(case.model_dir) / "model.onnx").graph
            data = Path(case.model_dir) / "test_data_set_0"
            given = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
            names = [value.name for value in graph.input if value.name not in given]
            given |= {name: read(data / f"input_{i}.pb") for i, name in enumerate(names)}
            inputs = [given.get(name) for name in graph.node[0].input]
            yield case.name, graph, inputs, [read(data / f"output_{i}.pb") for i in range(len(graph.output))]


@pytest.fixture(scope="module")
def cases():
    found = []
    for source in (generated_cases, stored_cases):
        for name, graph, inputs, outputs in source():
            operators = [node.op_type for node in graph.node]
            if set(operators) & OPERATORS.keys():
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in graph.node[0].attribute}
                found.append(Case(name, operators, attributes, inputs, outputs))
    return found


# ----------------------------------------------------------------------------------------- attributes into parameters


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def window(attributes, padding):
    """Stride, dilation and padding; `padding` is what none is called."""
    options = {}
    for ours, theirs in (("stride", "strides"), ("dilation", "dilations")):
        if theirs in attributes:
            options[ours] = tuple(attributes.pop(theirs))
    automatic = attributes.pop("auto_pad", b"NOTSET").decode()
    pads = attributes.pop("pads", None)
    if automatic != "NOTSET":
        options["padding"] = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}[automatic]
    elif pads:
        half = len(pads) // 2
        options["padding"] = tuple(zip(pads[:half], pads[half:]))
    else:
        options["padding"] = padding
    return options


def pool_window(attributes):
    options = {"stride": 1, **window(attributes, 0), "ceil_mode": bool(attributes.pop("ceil_mode", 0))}
    return tuple(attributes.pop("kernel_shape")), options


def conv(attributes, x, weights, bias=None):
    assert tuple(attributes.pop("kernel_shape", weights.shape[2:])) == weights.shape[2:]
    options = {**window(attributes, "valid"), "groups": attributes.pop("group", 1)}
    yield functional.conv(channels_last(x), channels_last(weights), bias, **options)


def conv_transpose(attributes, x, weights, bias=None):
    assert tuple(attributes.pop("kernel_shape", weights.shape[2:])) == weights.shape[2:]
    size, kernel = x.shape[2:], weights.shape[2:]
    # Given an output shape, ONNX computes the padding from it, and ignores what else is said.
    output = attributes.pop("output_shape", None)
    is_lower = attributes.get("auto_pad", b"").decode() != "SAME_UPPER"
    options = {**window(attributes, "valid"), "groups": attributes.pop("group", 1)}
    extra = attributes.pop("output_padding", [0] * len(size))
    if output is not None:
        stride, dilation = (options.get(name, (1,) * len(size)) for name in ("stride", "dilation"))
        pads = []
        for axis, (n, k, s, d) in enumerate(zip(size, kernel, stride, dilation)):
            total = (n - 1) * s + extra[axis] + (k - 1) * d + 1 - output[axis]
            if total < 0:  # pixels are missing: they are added at the end
                extra[axis] -= total
                total = 0
            less, more = total // 2, total - total // 2
            pads.append((more, less) if is_lower else (less, more))
        options["padding"] = tuple(pads)
    yield functional.conv_transpose(
        channels_last(x), channels_last(weights), bias, output_padding=tuple(extra), **options
    )


def max_pool(attributes, x):
    kernel_size, options = pool_window(attributes)
    is_column_major = attributes.pop("storage_order", 0)
    y, indices = functional.max_pool(channels_last(x), kernel_size, return_indices=True, **options)
    yield y
    # Ours count in the pixels of a sample and channel, ONNX's in the whole array, where asked in columns.
    if is_column_major:
        indices = np.ravel_multi_index(np.unravel_index(indices, x.shape[2:]), x.shape[2:], order="F")
    n, channels, n_pixels = *x.shape[:2], int(np.prod(x.shape[2:]))
    sample, channel = np.arange(n).reshape(-1, *[1] * (x.ndim - 1)), np.arange(channels)
    yield indices + (sample * channels + channel) * n_pixels


def average_pool(attributes, x):
    kernel_size, options = pool_window(attributes)
    count_include_pad = bool(attributes.pop("count_include_pad", 0))
    yield functional.avg_pool(channels_last(x), kernel_size, count_include_pad=count_include_pad, **options)


def lp_pool(attributes, x):
    kernel_size, options = pool_window(attributes)
    yield functional.lp_pool(channels_last(x), kernel_size, p=attributes.pop("p", 2), **options)


def global_pool(kind):
    def pool(attributes, x):
        y = functional.global_pool(channels_last(x), kind, **({"p": attributes.pop("p", 2)} if kind == "lp" else {}))
        yield y.reshape(len(y), *[1] * (x.ndim - 2), -1)

    return pool


OPERATORS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_pool("average"),
    "GlobalMaxPool": global_pool("max"),
    "GlobalLpPool": global_pool("lp"),
}
# Cases in onnx 1.23, so that none is lost unseen.
AT_LEAST = {
    "Conv": 33, "ConvTranspose": 14, "MaxPool": 28, "AveragePool": 25, "LpPool": 8, "GlobalAveragePool": 2,
    "GlobalMaxPool": 2, "GlobalLpPool": 0,
}  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
def test_cases_of_onnx(cases, operator):
    own = [case for case in cases if case.operators == [operator]]
    failures = {}
    for case in own:
        try:
            check(case)
        except (AssertionError, ValueError, TypeError) as error:
            failures[case.name] = f"{type(error).__name__}: {error}"
    assert not failures, "\n".join(f"{name}: {text}" for name, text in failures.items())
    assert len(own) >= AT_LEAST[operator]


def check(case):
    attributes = dict(case.attributes)
    results = list(OPERATORS[case.operators[0]](attributes, *case.inputs))
    assert not attributes, f"attributes not understood: {attributes}"
    for result, expected in zip(results, case.outputs):  # the second output is optional
        y = np.moveaxis(result, -1, 1)
        assert y.shape == expected.shape
        if expected.dtype.kind == "f":
            # Sums of at most 1000 terms: rounding grows like the square root of their number.
            rtol = 1e-3 if case.name in FOUR_DIGITS else 1e-5
            assert_allclose(y, expected, rtol=rtol, atol=1e-6 * np.abs(expected).max())
        else:  # indices, and uint8 pooled in float32
            assert_array_equal(y, expected)


def test_every_case_is_run_or_listed(cases):
    run = {case.name for case in cases if len(case.operators) == 1}
    other = {case.name for case in cases} - run
    assert other <= NOT_RUN.keys()
    assert not run & NOT_RUN.keys()
