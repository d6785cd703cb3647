"""Window arithmetic against brute force, and every wrong parameter against its message."""

import dataclasses
import itertools
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from skconv._geometry import (
    MAX_ELEMENTS,
    Window,
    check_choice,
    check_int,
    check_real,
    output_size,
    per_axis,
    receptive_field,
    resolve_pool,
    resolve_window,
)


def brute_force_windows(n, k, before, after, stride, dilation, ceil_mode):
    """The tap positions of every window, image pixels counted from 0, found by trying every start."""
    extent = (k - 1) * dilation + 1
    windows = []
    start = -before
    while True:
        end = start + extent
        # In ceil mode the last window may hang over the end by less than one stride, and none starts behind the image.
        fits = (end - stride < n + after and start < n) if ceil_mode else end <= n + after
        if not fits:
            return windows
        windows.append([start + t * dilation for t in range(k)])
        start += stride


GEOMETRIES = list(
    itertools.product((1, 2, 3, 4, 7, 8), (1, 2, 3, 5), (0, 1, 2), (0, 1, 3), (1, 2, 3), (1, 2, 3), (False, True))
)


def test_output_size_matches_brute_force():
    n_fitting = 0
    for n, k, before, after, stride, dilation, ceil_mode in GEOMETRIES:
        expected = len(brute_force_windows(n, k, before, after, stride, dilation, ceil_mode))
        arguments = dict(padding=(before, after), stride=stride, dilation=dilation, ceil_mode=ceil_mode)
        if expected:
            n_fitting += 1
            assert output_size(n, k, **arguments) == expected, (n, k, arguments)
        else:
            with pytest.raises(ValueError, match="does not fit into a signal of length"):
                output_size(n, k, **arguments)
    assert n_fitting > len(GEOMETRIES) // 2


def test_resolve_pool_accepts_exactly_windows_that_touch_the_image():
    for n, k, before, after, stride, dilation, ceil_mode in GEOMETRIES:
        windows = brute_force_windows(n, k, before, after, stride, dilation, ceil_mode)
        if not windows:
            continue
        extent = (k - 1) * dilation + 1
        arguments = dict(kernel_size=k, padding=((before, after),), stride=stride, dilation=dilation)
        if max(before, after) >= extent:
            with pytest.raises(ValueError, match="must be smaller than the pooling window"):
                resolve_pool((n,), ceil_mode=ceil_mode, **arguments)
        elif all(any(0 <= tap < n for tap in window) for window in windows):
            assert resolve_pool((n,), ceil_mode=ceil_mode, **arguments).output_size((n,)) == (len(windows),)
        else:
            with pytest.raises(ValueError, match="steps over"):
                resolve_pool((n,), ceil_mode=ceil_mode, **arguments)


@pytest.mark.parametrize("padding", ["same", "same_lower"])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_gives_ceil_of_n_over_stride(padding, stride, dilation):
    for n, k in itertools.product(range(1, 18), range(1, 10)):
        window = resolve_window((n,), kernel_size=k, stride=stride, dilation=dilation, padding=padding)
        size = math.ceil(Fraction(n, stride))
        assert window.output_size((n,)) == (size,)
        before, after = window.pad_before[0], window.pad_after[0]
        assert before + after == max((size - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        assert (after - before if padding == "same" else before - after) in (0, 1)
        # "same" pooling is legal for every geometry: its windows all touch the image.
        if dilation == 1:
            assert resolve_pool((n,), kernel_size=k, stride=stride, padding=padding).output_size((n,)) == (size,)
        rounded_up = dataclasses.replace(window, ceil_mode=True)
        assert rounded_up.output_size((n,)) == (size,)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_full_padding_holds_every_window_that_touches_the_image(dilation):
    for n, k in itertools.product(range(1, 9), range(1, 6)):
        extent = (k - 1) * dilation + 1
        assert output_size(n, k, "full", dilation=dilation) == n + extent - 1


def test_output_size_is_the_formula_of_the_lecture():
    for n, m, p, s in itertools.product(range(1, 12), range(1, 6), range(3), range(1, 4)):
        if m <= n + 2 * p:
            assert output_size(n, m, padding=p, stride=s) == (n + 2 * p - m) // s + 1


@pytest.mark.parametrize(
    "parameters, sizes",
    [
        # Ceil mode as PyTorch computes it: the partial last window counts, one that starts behind the image does not.
        (dict(n=5, kernel_size=2, stride=2, ceil_mode=True), 3),
        (dict(n=4, kernel_size=1, stride=3, ceil_mode=True, padding=1), 2),
        (dict(n=3, kernel_size=2, stride=2, padding=1, ceil_mode=True), 2),
        (dict(n=2, kernel_size=1, stride=5, ceil_mode=True), 1),
        (dict(n=1, kernel_size=2, stride=2, ceil_mode=True), 1),
        (dict(n=16_777_217, kernel_size=1), 16_777_217),  # an axis whose length float32 cannot hold
        (dict(n=28, kernel_size=3, stride=2**40), 1),
        (dict(n=1, kernel_size=1, dilation=2**40), 1),
    ],
)
def test_output_size_examples(parameters, sizes):
    assert output_size(**parameters) == sizes


@pytest.mark.parametrize(
    "padding, before, after",
    [
        ("valid", (0, 0), (0, 0)),
        (0, (0, 0), (0, 0)),
        (2, (2, 2), (2, 2)),
        (np.int8(2), (2, 2), (2, 2)),
        (np.array(2), (2, 2), (2, 2)),
        ((1, 2), (1, 2), (1, 2)),
        ([1, 2], (1, 2), (1, 2)),
        (((1, 2), (3, 4)), (1, 3), (2, 4)),
        ((1, (3, 4)), (1, 3), (1, 4)),
        ("same", (1, 1), (1, 2)),
        ("same_lower", (1, 2), (1, 1)),
        ("full", (2, 3), (2, 3)),
    ],
)
def test_padding_forms(padding, before, after):
    window = resolve_window((8, 8), kernel_size=(3, 4), padding=padding)
    assert (window.pad_before, window.pad_after) == (before, after)
    assert all(type(p) is int for p in window.pad_before + window.pad_after)


@pytest.mark.parametrize("padding, pads", [(1, (1, 1)), ((1,), (1, 1)), (((1, 2),), (1, 2))])
def test_padding_forms_of_signals(padding, pads):
    window = resolve_window((8,), kernel_size=3, padding=padding)
    assert (*window.pad_before, *window.pad_after) == pads


def test_window_in_three_dimensions():
    window = resolve_window((5, 6, 7), kernel_size=(1, 2, 3), stride=(1, 2, 3), dilation=(1, 1, 2), padding="valid")
    assert window.ndim == 3
    assert window.extent == (1, 2, 5)
    assert window.output_size((5, 6, 7)) == (5, 3, 1)
    assert window.output_size((9, 8, 8)) == (9, 4, 2)


def test_window_is_a_small_immutable_value():
    window = resolve_window((8, 8), kernel_size=3)
    assert window == resolve_window([8, 8], kernel_size=(3, 3), stride=np.int64(1), padding="valid")
    assert hash(window) == hash(pickle.loads(pickle.dumps(window)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.stride = (2, 2)


def test_pool_stride_defaults_to_kernel_size():
    assert resolve_pool((9, 8), kernel_size=(3, 2)).stride == (3, 2)
    assert resolve_pool((9, 8), kernel_size=(3, 2), stride=1).stride == (1, 1)


@pytest.mark.parametrize(
    "input_size, parameters, message",
    [
        (
            (8, 8),
            dict(kernel_size=9, name="conv1"),
            "layer 'conv1': kernel_size=9 does not fit into an 8x8 image; use padding=\"same\" or a smaller kernel",
        ),
        ((28, 28), dict(kernel_size=(3, 29)), "kernel_size=(3, 29) does not fit into a 28x28 image"),
        ((8, 8), dict(kernel_size=5, dilation=2), "kernel_size=5 (9 pixels wide with dilation=2) does not fit"),
        (
            (4, 4),
            dict(kernel_size=9, padding=1),
            "kernel_size=9 with padding=1 does not fit into a 4x4 image; use more",
        ),
        ((4, 4), dict(kernel_size=9, padding=((1, 0), (2, 0))), "with padding=((1, 0), (2, 0)) does not fit"),
        ((10,), dict(kernel_size=11), "does not fit into a signal of length 10"),
        ((11, 5, 5), dict(kernel_size=6), "does not fit into an 11x5x5 volume"),
        ((8, 8), dict(kernel_size=2**32), "kernel_size=4294967296 does not fit into an 8x8 image"),
        ((8, 8), dict(kernel_size=2**32, padding="same"), "the limit is 2**40 elements"),
        ((8, 8), dict(kernel_size=2**40, dilation=2**40, padding="full"), "the limit is 2**40 elements"),
        ((8, 8), dict(kernel_size=3, padding=2**30), "the limit is 2**40 elements"),
        ((8, 8), dict(kernel_size=3, padding=2**62), "padding must be at least 0 and at most 2**40, got 46116860184"),
        ((8, 8), dict(kernel_size=2**62), "kernel_size must be at least 1 and at most 2**40"),
        pytest.param((8, 8), dict(kernel_size=10**5000), "got a huge int", id="kernel_size=10**5000"),
        ((2**21, 2**21), dict(kernel_size=1), "the limit is 2**40 elements"),
        ((8, 8), dict(kernel_size=0), "kernel_size must be at least 1, got 0"),
        ((8, 8), dict(kernel_size=(3, -1), name="c"), "layer 'c': kernel_size[1] must be at least 1, got -1"),
        ((8, 8), dict(kernel_size=3, stride=0), "stride must be at least 1, got 0"),
        ((8, 8), dict(kernel_size=3, stride=-1), "stride must be at least 1, got -1"),
        ((8, 8), dict(kernel_size=3, dilation=0), "dilation must be at least 1, got 0"),
        ((8, 8), dict(kernel_size=3, padding=-1), "padding must be at least 0, got -1"),
        ((8, 8), dict(kernel_size=3, padding=(0, -1)), "padding[1] must be at least 0, got -1"),
        ((8, 8), dict(kernel_size=3, padding=((0, -1), 0)), "padding[0] must be at least 0, got -1"),
        (
            (8, 8),
            dict(kernel_size=3, padding="Same"),
            "padding must be one of 'valid', 'same', 'same_lower', 'full', got",
        ),
        ((8, 8), dict(kernel_size=3, padding=(1, 2, 3)), "a tuple of 2 (before, after) pairs, got (1, 2, 3)"),
        ((8, 8), dict(kernel_size=3, padding=((1, 2, 3), 0)), "a tuple of 2 (before, after) pairs"),
        ((8,), dict(kernel_size=3, padding=(1, 2)), "a tuple of 1 (before, after) pair, got (1, 2)"),
        ((8, 8), dict(kernel_size=(3, 3, 3)), "kernel_size must be an int or a tuple of 2 ints, got (3, 3, 3)"),
        ((8, 8), dict(kernel_size=()), "kernel_size must be an int or a tuple of 2 ints, got ()"),
        ((8, 0), dict(kernel_size=1), "input_size[1] must be at least 1, got 0"),
        ((), dict(kernel_size=1), "input_size must be a tuple of 1 to 3 ints, got ()"),
        ((1, 1, 1, 1), dict(kernel_size=1), "input_size must be a tuple of 1 to 3 ints"),
        (8, dict(kernel_size=1), "input_size must be a tuple of 1 to 3 ints, got 8"),
    ],
)
def test_resolve_window_value_errors(input_size, parameters, message):
    with pytest.raises(ValueError) as error:
        resolve_window(input_size, **parameters)
    assert message in str(error.value)


@pytest.mark.parametrize("wrong", [True, 2.0, 2.5, "3", None, np.array([1, 2]), np.float32(2), np.bool_(True), {3}])
@pytest.mark.parametrize("parameter", ["kernel_size", "stride", "dilation", "padding"])
def test_window_parameters_must_be_ints(parameter, wrong):
    parameters = {"kernel_size": 3, parameter: wrong}
    if parameter == "padding" and isinstance(wrong, str):
        pytest.skip("a string is a legal type of padding")
    with pytest.raises(TypeError, match=parameter):
        resolve_window((8, 8), **parameters)
    with pytest.raises(TypeError, match=parameter):
        resolve_window((8, 8), **{"kernel_size": 3, parameter: (1, wrong)})


@pytest.mark.parametrize("wrong", [1, 0, None, "yes", np.array([True, False]).astype(int)])
def test_ceil_mode_must_be_a_bool(wrong):
    with pytest.raises(TypeError, match="ceil_mode must be a bool"):
        resolve_window((8, 8), kernel_size=2, ceil_mode=wrong)
    assert resolve_window((8, 8), kernel_size=2, ceil_mode=np.bool_(True)).ceil_mode is True


@pytest.mark.parametrize(
    "parameters, message",
    [
        (
            dict(kernel_size=2, padding=2, name="pool1"),
            "layer 'pool1': padding=2 must be smaller than the pooling window",
        ),
        (dict(kernel_size=2, padding=((0, 0), (0, 2))), "use at most 1"),
        (dict(kernel_size=9), "kernel_size=9 does not fit into an 8x8 image"),
        (dict(kernel_size=2, stride=0), "stride must be at least 1, got 0"),
        (dict(kernel_size=2, dilation=12, padding=6, name="p"), "layer 'p': kernel_size=2 (13 pixels wide"),
    ],
)
def test_resolve_pool_value_errors(parameters, message):
    with pytest.raises(ValueError) as error:
        resolve_pool((8, 8), **parameters)
    assert message in str(error.value)


@pytest.mark.parametrize("input_size", [(4,), (4, 4, 4), (4, 0)])
def test_output_size_of_a_window_needs_a_matching_image(input_size):
    with pytest.raises(ValueError, match="input_size"):
        Window((1, 1), (1, 1), (1, 1), (1, 1), (1, 1)).output_size(input_size)


def brute_force_receptive_field(layers):
    """Number of inputs on which the first output depends, found by following its taps back to the input."""
    seen = {0}
    for kernel_size, stride, dilation in reversed(layers):
        seen = {i * stride + t * dilation for i in seen for t in range(kernel_size)}
    return max(seen) - min(seen) + 1


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [(1, 1, 1)],
        [(3, 1, 1), (3, 1, 1), (3, 1, 1)],
        [(3, 1, 1), (2, 2, 1), (3, 1, 1), (2, 2, 1)],
        [(3, 2, 2), (5, 3, 4), (1, 7, 1), (2, 1, 3)],
    ],
)
def test_receptive_field_matches_brute_force(layers):
    expected = brute_force_receptive_field(layers)
    assert receptive_field(layers) == expected
    windows = [Window((k,), (s,), (d,), (0,), (0,)) for k, s, d in layers]
    assert receptive_field(windows) == ((expected,) if layers else 1)


def test_receptive_field_per_axis():
    assert receptive_field([((3, 5), 1), (2, 2), resolve_window((8, 8), kernel_size=(1, 3))]) == (4, 10)


@pytest.mark.parametrize("layers", [[3], [(3,)], [(3, 1, 1, 1)], ["ab"], [((3, 3), (1, 1, 1))], [(0, 1)], [(3, 0)]])
def test_receptive_field_value_errors(layers):
    with pytest.raises(ValueError, match="layers"):
        receptive_field(layers)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3), np.array(3, dtype=">i2")])
def test_check_int_accepts_integers(value):
    number = check_int(value, "n_filters", minimum=3, maximum=3)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize(
    "value, shown",
    [(2.5, "2.5 (float)"), (True, "True (bool)"), ("3", "'3' (str)"), (None, "None (NoneType)"), (1j, "1j (complex)")],
)
def test_check_int_type_errors(value, shown):
    with pytest.raises(TypeError) as error:
        check_int(value, "n_filters")
    assert str(error.value) == f"n_filters must be an int, got {shown}"


@pytest.mark.parametrize(
    "value", [np.bool_(1), np.array(True), np.array([3]), np.float64(3), np.array(3.0), [3], "x" * 999]
)
def test_check_int_type_errors_are_short(value):
    with pytest.raises(TypeError, match="n_filters must be an int") as error:
        check_int(value, "n_filters")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize(
    "value, limits, message",
    [
        (0, (1, None), "n must be at least 1, got 0"),
        (9, (None, 8), "n must be at most 8, got 9"),
        (9, (1, 8), "n must be at least 1 and at most 8, got 9"),
        (MAX_ELEMENTS + 1, (1, MAX_ELEMENTS), "n must be at least 1 and at most 2**40, got 1099511627777"),
    ],
)
def test_check_int_value_errors(value, limits, message):
    with pytest.raises(ValueError) as error:
        check_int(value, "n", *limits)
    assert str(error.value) == message


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1), np.array(1.0), Fraction(2, 2), np.longdouble(1)])
def test_check_real_accepts_numbers(value):
    number = check_real(value, "alpha", 0, 1)
    assert number == 1.0 and type(number) is float


@pytest.mark.parametrize("value", [True, np.bool_(1), np.array(True), "1", None, 1j, np.array([1.0]), [1.0]])
def test_check_real_type_errors(value):
    with pytest.raises(TypeError, match="alpha must be a real number, got"):
        check_real(value, "alpha")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        np.array(np.inf),
        pytest.param(10**400, id="10**400"),
        pytest.param(10**5000, id="10**5000"),
    ],
)
def test_check_real_rejects_what_is_not_finite(value):
    with pytest.raises(ValueError, match="alpha must be a finite number, got"):
        check_real(value, "alpha")


@pytest.mark.parametrize("inclusive, legal", [("both", "01"), ("left", "0"), ("right", "1"), ("neither", "")])
def test_check_real_ends_of_the_range(inclusive, legal):
    assert check_real(0.5, "rate", 0, 1, inclusive) == 0.5
    for end in (0, 1):
        if str(end) in legal:
            assert check_real(end, "rate", 0, 1, inclusive) == end
        else:
            with pytest.raises(ValueError, match=f"rate must be .* got {end}"):
                check_real(end, "rate", 0, 1, inclusive)


def test_check_choice():
    assert check_choice("adam", "solver", ("sgd", "adam")) == "adam"
    assert type(check_choice(np.str_("adam"), "solver", ("sgd", "adam"))) is str
    assert check_choice(None, "solver", ("sgd", None)) is None
    for wrong in ("Adam", 3, None, ["adam"], np.array(["adam", "sgd"])):
        with pytest.raises(ValueError, match="solver must be one of 'sgd', 'adam', got"):
            check_choice(wrong, "solver", ("sgd", "adam"))


def test_per_axis():
    assert per_axis(3, "stride", 3, minimum=1) == (3, 3, 3)
    assert per_axis([1, np.int64(2)], "stride", 2, minimum=1) == (1, 2)
    with pytest.raises(ValueError, match=r"stride\[0\] must be at least 1, got 0"):
        per_axis((0, 1), "stride", 2, minimum=1)
    with pytest.raises(TypeError, match=r"stride must be an int or a tuple of 2 ints, got '33' \(str\)"):
        per_axis("33", "stride", 2, minimum=1)


@pytest.mark.parametrize("kernel_size", [65536, (65536, 65537), 46341])
def test_pooling_windows_are_bounded(kernel_size):
    """Windows of more than 2**22 pixels: the engine lists the pixels of a window (2**32 of them once wrapped to 0)."""
    padding = kernel_size - 1 if isinstance(kernel_size, int) else tuple(k - 1 for k in kernel_size)
    with pytest.raises(ValueError, match=r"layer 'p': kernel_size=.* the limit is 2\*\*22 pixels"):
        resolve_pool((8, 8), kernel_size=kernel_size, padding=padding, name="p")
