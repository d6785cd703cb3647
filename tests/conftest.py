"""Fixtures of all tests: the instruction sets, both precisions."""

import os

import pytest

from skconv import _engine

# Every one that this machine has, or the one that is forced: a run for each need not test all of them each time.
ISAS = (_engine.isa(),) if os.environ.get("SKCONV_ISA") else _engine.available_isas()


@pytest.fixture(params=ISAS)
def isa(request):
    return request.param


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param
