"""Fixtures of all tests: every instruction set of this machine, both precisions."""

import pytest

from skconv import _engine


@pytest.fixture(params=_engine.available_isas())
def isa(request):
    return request.param


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param
