"""Matrices of convolutions: equal to the operations that they stand for."""

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skconv import functional
from skconv._geometry import output_size, receptive_field
from skconv.functional import (
    conv,
    conv_transpose,
    convolution_matrix,
    convolve,
    doubly_block_circulant_matrix,
    n_parameters,
    toeplitz_matrix,
)


def integers(*shape):
    return np.random.default_rng(shape).integers(-8, 9, size=shape)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("m", range(1, 9))
def test_toeplitz_matrix_is_convolve(mode, n, m):
    w, x = integers(m), integers(n)
    matrix = toeplitz_matrix(w, n, mode)
    assert isinstance(matrix, scipy.sparse.csr_array) and matrix.dtype == np.float32
    assert_array_equal(matrix @ x, convolve(x, w, mode))
    dense = matrix.toarray()
    assert_array_equal(dense, scipy.linalg.toeplitz(dense[:, 0], dense[0]))  # constant along diagonals
    assert matrix.nnz == sum(0 <= i < m for i in np.subtract.outer(np.arange(n + m - 1), np.arange(n)).ravel()) or (
        mode != "full"
    )


def test_the_lectures_padded_sum_is_one_too_far():
    # y[i] = sum over k of xp[i + m - k] w[k] reads xp[n + 2 p], which there is not; i + m - 1 - k is right.
    n, m, p = 6, 3, 1
    x, w = integers(n), integers(m)
    padded = np.pad(x, p)
    o = output_size(n, m, p)
    assert max(i + m - k for i in range(o) for k in range(m)) == len(padded)
    y = [sum(padded[i + m - 1 - k] * w[k] for k in range(m)) for i in range(o)]
    assert_array_equal(toeplitz_matrix(w, n, "same") @ x, y)


@pytest.mark.parametrize(
    "k, shape",
    [((3, 3), (5, 6)), ((1, 1), (1, 1)), ((2, 4), (4, 4)), ((5, 7), (3, 4)), ((3,), (7,)), ((2, 3, 2), (3, 4, 2))],
)
def test_doubly_block_circulant_matrix_is_circular_convolution(k, shape):
    k, x = integers(*k), integers(*shape)
    matrix = doubly_block_circulant_matrix(k, shape)
    assert isinstance(matrix, scipy.sparse.csr_array)
    expected = np.zeros(shape, int)
    for i in np.ndindex(*shape):
        for tap in np.ndindex(*k.shape):
            expected[i] += k[tap] * x[tuple((a - b) % n for a, b, n in zip(i, tap, shape))]
    assert_array_equal((matrix @ x.ravel()).reshape(shape), expected)
    if all(a <= b for a, b in zip(k.shape, shape)):
        spectrum = np.fft.ifftn(np.fft.fftn(x) * np.fft.fftn(k, shape, axes=range(k.ndim)))
        assert_allclose(spectrum.real, expected, atol=1e-9)


def test_doubly_block_circulant_matrix_has_circulant_blocks():
    matrix = doubly_block_circulant_matrix(integers(3, 2), (4, 5)).toarray().reshape(4, 5, 4, 5)
    for block_row in range(4):
        for block_column in range(4):
            block = matrix[block_row, :, block_column]
            assert_array_equal(block, matrix[(block_row + 1) % 4, :, (block_column + 1) % 4])
            assert_array_equal(block, scipy.linalg.circulant(block[:, 0]))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.data())
def test_convolution_matrix_is_conv(data):
    ndim = data.draw(st.integers(1, 3))
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(ndim))  # noqa: E731
    size, kernel, stride, dilation = draw(1, 6), draw(1, 3), draw(1, 3), draw(1, 2)
    padding = data.draw(st.sampled_from(["same", "same_lower", "full", tuple(zip(draw(4, 5), draw(0, 2)))]))
    groups = data.draw(st.integers(1, 2))
    image_shape = (*size, groups * data.draw(st.integers(1, 3)))
    weights = integers(groups * data.draw(st.integers(1, 2)), *kernel, image_shape[-1] // groups)
    x = integers(2, *image_shape)
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    matrix = convolution_matrix(weights, image_shape, **options)
    assert isinstance(matrix, scipy.sparse.csr_array)
    y = conv(x, weights, **options)
    assert matrix.shape == (y[0].size, x[0].size)
    assert_array_equal(matrix @ x[0].ravel(), y[0].ravel())
    assert_array_equal((matrix @ x.reshape(2, -1).T).T.reshape(y.shape), y)


def test_the_transposed_matrix_is_conv_transpose():
    weights, y = integers(4, 3, 2, 3), integers(1, 4, 5, 4)
    options = dict(stride=(2, 1), padding=1)
    x = conv_transpose(y, weights, output_padding=(1, 0), **options)
    matrix = convolution_matrix(weights, x.shape[1:], **options)
    assert_array_equal(matrix.T @ y.ravel(), x.ravel())


def test_dtypes():
    for dtype, expected in [("f8", "f8"), ("f4", "f4"), ("i8", "f4"), ("u1", "f4")]:
        w = np.array([1, 2], dtype)
        assert toeplitz_matrix(w, 3).dtype == expected
        assert doubly_block_circulant_matrix(w, 3).dtype == expected
        assert convolution_matrix(w.reshape(1, 2, 1), (3, 1)).dtype == expected


def test_zero_weights_are_stored():
    assert convolution_matrix(np.zeros((2, 3, 1)), (4, 1)).nnz == 12
    assert toeplitz_matrix([0, 0], 3).nnz == 6


def test_matrices_without_entries():
    # With a dilation of 5, the two taps of the only window fall on both sides of the image.
    matrix = convolution_matrix(np.ones((1, 2, 1)), (1, 1), dilation=5, padding=3, stride=9)
    assert matrix.shape == (1, 1) and matrix.nnz == 0


@pytest.mark.parametrize("n1, n2, m1, m2", [(32, 32, 3, 3), (28, 20, 5, 3)])
def test_n_parameters_are_those_of_the_lecture(n1, n2, m1, m2):
    counts = n_parameters((n1, n2, 3), (m1, m2), 5)
    assert counts.convolution == m1 * m2 * 3 * 5 + 5
    assert counts.fully_connected == (n1 * n2 * 3) * (n1 * n2 * 5)


def test_n_parameters_counts_the_matrix():
    image_shape, kernel = (7, 6, 4), (3, 2)
    for groups in (1, 2, 4):
        counts = n_parameters(image_shape, kernel, 8, stride=2, padding=1, groups=groups, bias=False)
        weights = np.ones((8, *kernel, 4 // groups))
        assert counts.convolution == weights.size
        if groups == 1:
            assert counts.fully_connected == np.prod(convolution_matrix(weights, (7, 6, 4), stride=2, padding=1).shape)


@pytest.mark.parametrize(
    "function, arguments, error, message",
    [
        (toeplitz_matrix, ([[1]], 3), ValueError, r"w must be a kernel of shape \(m,\)"),
        (toeplitz_matrix, ([], 3), ValueError, "w must be a kernel"),
        (toeplitz_matrix, ([1], 0), ValueError, "n must be at least 1"),
        (toeplitz_matrix, ([1], 2.0), TypeError, "n must be an int"),
        (toeplitz_matrix, ([1], 3, "all"), ValueError, "mode must be one of"),
        (toeplitz_matrix, ([1] * 8, 2**38), MemoryError, "a sparse matrix of .* entries takes .* GiB"),
        (doubly_block_circulant_matrix, (1, (3, 3)), ValueError, "k must be a kernel"),
        (doubly_block_circulant_matrix, ([[1]], (3,)), ValueError, "shape must be an int or a tuple of 2 ints"),
        (doubly_block_circulant_matrix, ([[1]], (3, 0)), ValueError, r"shape\[1\] must be at least 1"),
        (doubly_block_circulant_matrix, ([[1]], 2**20), MemoryError, "a sparse matrix of"),
        (convolution_matrix, ([[[1]]], (3,)), ValueError, "image_shape must be"),
        (convolution_matrix, ([[[1]]], 3), ValueError, "image_shape must be"),
        (convolution_matrix, ([[[1]]], (3, 2)), ValueError, "the images have 2 channels, but weights"),
        (convolution_matrix, ([[1]], (3, 1)), ValueError, "weights must have shape"),
        (convolution_matrix, ([[[1]]], (2**38, 1)), MemoryError, "a sparse matrix of"),
        (
            partial(convolution_matrix, padding=2**38),
            ([[[1]]], (4, 1)),
            MemoryError,
            "of 4 entries in 5497558138.. rows",
        ),
        (n_parameters, ((3,), 1, 1), ValueError, "image_shape must be"),
        (n_parameters, ((3, 3, 1), 1, 0), ValueError, "n_filters must be at least 1"),
        (n_parameters, ((3, 3, 1), 4, 1, "same"), TypeError, "positional"),
    ],
)
def test_bad_input(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_arithmetic_of_windows_is_public():
    assert functional.output_size is output_size and functional.receptive_field is receptive_field
    assert set(functional.__all__) <= set(dir(functional))
