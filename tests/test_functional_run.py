"""What all functions share: reading arrays, checking `out`, networks kept between calls."""

import os
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from skconv._geometry import resolve_pool
from skconv._operations import Pool
from skconv.functional import _run
from skconv.functional._run import as_array, as_images, check_out, result_dtype, run

IMAGES = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)


def pooling(shape, kernel_size=2):
    window = resolve_pool(shape[:-1], kernel_size=kernel_size, stride=1)
    return (Pool("", shape, (*window.output_size(shape[:-1]), shape[-1]), "max", window),)


@pytest.fixture(autouse=True)
def no_networks():
    _run._forget()
    yield
    _run._forget()


def strange_layouts(x):
    """Yield (name, array) with the values of `x` in every layout that NumPy knows."""
    yield "fortran", np.asfortranarray(x)
    yield "negative strides", np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    yield "gaps", np.repeat(x, 2, axis=1)[:, ::2]
    yield "big-endian", x.astype(x.dtype.newbyteorder(">"))
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    yield "unaligned", unaligned
    read_only = x.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only


@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("uint8", "uint8"), ("float32", "float32"), ("float64", "float64"), ("bool", "float32"), ("int8", "float32"),
        ("uint16", "float32"), ("int64", "float32"), ("float16", "float32"), ("longdouble", "float64"),
        ("O", "float64"),
    ],
)  # fmt: skip
def test_dtypes_are_read(dtype, expected):
    read = as_array(np.array([[0, 1], [1, 0]]).astype(dtype), "x")
    assert read.dtype == expected
    assert_array_equal(read, [[0, 1], [1, 0]])
    assert result_dtype(read) == ("float64" if expected == "float64" else "float32")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_readable_arrays_are_not_copied(dtype, tmp_path):
    x = IMAGES.astype(dtype)
    assert as_images(x) is x
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype=dtype, mode="r", shape=x.shape)
    assert np.shares_memory(as_images(mapped), mapped)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_layouts_are_read(dtype):
    x = IMAGES.astype(dtype)
    for layout, array in strange_layouts(x):
        read = as_images(array)
        assert read.flags.c_contiguous and read.flags.aligned and read.dtype.isnative, layout
        assert_array_equal(read, x, layout)
    broadcast = np.broadcast_to(x[:1], x.shape)
    assert_array_equal(as_images(broadcast), broadcast)


def test_lists_and_objects_are_read():
    assert_array_equal(as_images([[[1], [2]]]), np.array([[[1], [2]]], np.float32))
    assert as_array([1, True], "x").dtype == np.float32
    assert as_array(np.array([1, 2.5, True], dtype=object), "x").dtype == np.float64


def test_no_samples_are_images():
    assert as_images(np.zeros((0, 4, 4, 1))).shape == (0, 4, 4, 1)


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((1, 4, 1), complex), TypeError, "y is complex.*y.real"),
        (np.array(["1", "2"]), TypeError, "y has dtype <U1"),
        (np.array(["1", 2], dtype=object), TypeError, "y holds '1' .str."),
        (np.array([1j, 2], dtype=object), TypeError, "y holds 1j"),
        (np.array([{}], dtype=object), TypeError, "y holds objects"),
        (np.array([10**400], dtype=object), TypeError, "y holds objects"),
        (np.array(["2020-01-01"], "datetime64[D]"), TypeError, "y holds dates"),
        (np.array([1], "timedelta64[s]"), TypeError, "y holds dates"),
        (np.ma.masked_equal([1, 2], 2), TypeError, "masked.*y.filled"),
        (csr_array((3, 3)), TypeError, "sparse.*y.toarray"),
        (None, TypeError, "y holds None"),
        ([[1, 2], [3]], ValueError, "y is ragged"),
        (np.zeros((4, 4)), ValueError, r"y must have shape \(n_samples.*got shape \(4, 4\); a single image"),
        (np.zeros((1,) * 6), ValueError, r"y must have shape \(n_samples"),
        (np.zeros((1, 4, 0, 1)), ValueError, "y of shape .* holds empty images"),
        (np.zeros((1, 4, 4, 0)), ValueError, "y of shape .* holds empty images"),
    ],
)
def test_what_is_no_array_of_numbers_raises(x, error, message):
    with pytest.raises(error, match=message):
        as_images(x, "y")


def test_spatial_ndim_is_checked():
    assert as_images(IMAGES, spatial_ndim=2) is IMAGES
    with pytest.raises(ValueError, match="with 3 spatial axes, got shape"):
        as_images(IMAGES, spatial_ndim=3)


def test_out_is_checked():
    x = np.zeros((2, 3), np.float32)
    check_out(np.zeros((2, 3), np.float32), (2, 3), np.dtype("float32"), x=(x, x))
    read_only = x.copy()
    read_only.flags.writeable = False
    for out, error, message in [
        ([1.0], TypeError, "NumPy array"),
        (np.zeros((3, 2), np.float32), ValueError, r"out must have shape \(2, 3\)"),
        (np.zeros((2, 3)), ValueError, "dtype float32, got shape .* dtype float64; use out=np.empty"),
        (np.zeros((2, 3), ">f4"), ValueError, "dtype float32"),
        (np.zeros((3, 2), np.float32).T, ValueError, "C-contiguous"),
        (read_only, ValueError, "read-only"),
        (x, ValueError, "out overlaps x"),
    ]:
        with pytest.raises(error, match=message):
            check_out(out, (2, 3), np.dtype("float32"), x=(x, x))
    buffer = np.zeros(12, np.float32)
    with pytest.raises(ValueError, match="overlaps x"):  # although x would be copied
        check_out(buffer[:6].reshape(2, 3), (2, 3), np.dtype("float32"), x=(buffer[::2].reshape(2, 3), x))


def test_run_is_what_a_network_does():
    operations = pooling((3, 2, 2))
    expected = np.stack([IMAGES[:, i : i + 2].max(axis=(1, 2)) for i in range(2)], axis=1)[:, :, np.newaxis]
    out = np.full((2, 2, 1, 2), np.nan, np.float32)
    assert run(operations, (), IMAGES, out) is out
    assert_array_equal(out, expected)
    assert_array_equal(run(operations, (), IMAGES), expected)
    assert run(operations, (), IMAGES.astype(np.float64)).dtype == np.float64
    assert run(operations, (), IMAGES[:0]).shape == (0, 2, 1, 2)


def held():
    return sum(size for networks in _run._idle.values() for _, size in networks)


def test_networks_are_kept_and_bounded(monkeypatch):
    monkeypatch.setattr(_run, "MAX_KEPT", 3)
    for width in range(2, 10):
        x = np.ones((1, 3, width, 1), np.float32)
        first = run(pooling(x.shape[1:]), (), x)
        assert_array_equal(run(pooling(x.shape[1:]), (), x), first)
        assert len(_run._idle) <= 3
        assert _run._bytes == held() > 0
    assert [key[0][0].in_shape[1] for key in _run._idle] == [7, 8, 9]
    run(pooling((3, 7, 1)), (), np.ones((1, 3, 7, 1), np.float32))
    assert [key[0][0].in_shape[1] for key in _run._idle] == [8, 9, 7]

    monkeypatch.setattr(_run, "MAX_ALL_BYTES", _run._bytes - 1)
    run(pooling((3, 7, 1)), (), np.ones((1, 3, 7, 1), np.float32))
    assert [key[0][0].in_shape[1] for key in _run._idle] == [9, 7]
    assert _run._bytes == held()


def test_large_networks_are_not_kept():
    x = np.ones((1, 1100, 1000, 1), np.uint8)  # which must be converted first
    run(pooling(x.shape[1:]), (), x)
    assert not _run._idle and _run._bytes == 0


def test_a_network_that_failed_is_not_kept(monkeypatch):
    operations = pooling((3, 2, 2))
    run(operations, (), IMAGES)
    with pytest.raises(ValueError):
        run(operations, (), IMAGES[:, :2])
    assert not any(_run._idle.values()) and _run._number == _run._bytes == 0


def test_threads_share_no_network():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(3, 20, 20, 4)).astype(np.float32) for _ in range(8)]
    operations = pooling((20, 20, 4), kernel_size=3)
    expected = [run(operations, (), x) for x in inputs]
    wrong = []

    def work(x, y):
        for _ in range(50):
            if not np.array_equal(run(operations, (), x), y):
                wrong.append(1)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert _run._bytes == held()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_free_lock():
    with _run._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if _run._lock.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0
