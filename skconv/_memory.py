"""Whether a network fits this machine's memory: asked before the first byte is allocated.

NumPy's own MemoryError comes too late and says too little: the system promises memory that it does not have, and kills
the process that touches it.
"""

import functools
import math
import os
from pathlib import Path

# Limits of a container: control groups, version 2 and 1. The kernel writes "max", or a number beyond any memory.
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def memory_limit():
    """Return the bytes of memory that this process may use at most; infinity where the system does not tell."""
    limit = math.inf
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _GROUP_LIMITS:
        try:
            limit = min(limit, int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return limit


def check_memory(operations, itemsize):
    """Raise a MemoryError that names the layer if one sample's maps and weights would not fit.

    Parameters
    ----------
    operations : list of Operation
    itemsize : int
        Bytes per value.
    """
    limit = memory_limit()
    for operation in operations:
        # Gradients and the solver's moments come on top; whoever trains meets them as NumPy's MemoryError.
        n_weights = math.prod(operation.coef_shape or (0,)) + operation.n_intercepts
        needed = itemsize * (operation.n_padded_values + math.prod(operation.out_shape) + n_weights)
        if needed > limit:
            where = f"layer {operation.name!r}: " if operation.name else ""
            raise MemoryError(
                f"{where}{operation.describe()} on an input of shape {operation.in_shape} takes "
                f"{_in_words(needed)} for one sample, more than the {_in_words(limit)} of this machine; "
                "use less padding, a smaller kernel or fewer filters"
            )


def _in_words(n_bytes):
    """``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if n_bytes < 1024 or unit == "TiB":
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
