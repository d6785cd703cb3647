"""The engine: compiled layers, the training loop, and one table of kernels per instruction set and precision.

Which instruction set runs is chosen once, at import: the best that the processor has, or the one that the environment
variable ``SKCONV_ISA`` names (``baseline``, ``avx2`` or ``avx512``; ``neon`` on Arm).
"""

import importlib.util
import os

from . import cpu

# Level of the processor (cpu.level) that each instruction set asks for; NEON belongs to every 64-bit Arm processor.
_LEVELS = {"baseline": 0, "neon": 0, "avx2": 1, "avx512": 2}
_BUILT = tuple(name for name in _LEVELS if importlib.util.find_spec(f"{__name__}._kernels_{name}_float32"))


def available_isas():
    """Return the instruction sets that this processor has and this build holds, the best one last."""
    return tuple(name for name in _BUILT if _LEVELS[name] <= cpu.level())


def _choose():
    name = os.environ.get("SKCONV_ISA", "")
    if not name:
        return available_isas()[-1]
    if name not in available_isas():
        raise ImportError(
            f"SKCONV_ISA={name!r} is not available here; choose one of {', '.join(available_isas())}, or unset it"
        )
    return name


_isa = _choose()


def isa():
    """Return the name of the instruction set in use."""
    return _isa


def openmp():
    """Return whether the engine can use more than one thread."""
    return cpu.openmp()


def kernels(dtype, isa=None):
    """Return the table of kernels for ``"float32"`` or ``"float64"``, as the engine's classes take it."""
    return importlib.import_module(f"{__name__}._kernels_{isa or _isa}_{dtype}").table


_forked = False


def _after_fork():
    # libgomp's threads do not survive a fork, and a team of more than one would wait for them for ever.
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_n_cpus = None


def effective_n_threads():
    """Return the number of threads to use now.

    OpenMP's settings (``OMP_NUM_THREADS``, threadpoolctl, joblib's limit in workers), the affinity mask and the CPU
    quota of a container are obeyed; a forked child runs on one thread.
    """
    global _n_cpus
    if _forked:
        return 1
    if _n_cpus is None:
        from joblib import cpu_count

        _n_cpus = cpu_count()
    # Who asks for more threads than processors gets them, within reason: each has scratch memory of its own.
    most = max(64, 4 * _n_cpus) if os.environ.get("OMP_NUM_THREADS") else _n_cpus
    return max(1, min(cpu.max_threads(), most))


def fma_peak(n_threads=1):
    """Return the measured speed of float32 multiply-adds in registers, in GFLOP/s."""
    from .peak import fma_peak as measure

    return measure(kernels("float32"), n_threads)
