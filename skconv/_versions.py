"""What a bug report should say about the machine and the installed versions."""

import platform

from . import _engine


def show_versions(file=None):
    """Print the versions, instruction set and threads that skconv runs with.

    Parameters
    ----------
    file : file-like with a ``write`` method, default=None
        Where to print; None is the standard output.

    Examples
    --------
    >>> import skconv
    >>> skconv.show_versions()
    Python ...
    """
    rows = {
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "CPU": _cpu_name(),
        **{package: _version(package) for package in ("skconv", "numpy", "scipy", "scikit-learn")},
        "instruction set": _engine.isa(),
        "available": ", ".join(_engine.available_isas()),
        "threads": _engine.effective_n_threads(),
        "OpenMP": "yes" if _engine.openmp() else "no",
    }
    for name, value in rows.items():
        print(f"{name:<17}{value}", file=file)


def _version(package):
    from importlib.metadata import PackageNotFoundError, version  # 30 ms that "import skconv" need not wait for

    try:
        return version(package)
    except PackageNotFoundError:  # found on the path, but never installed
        return "unknown"


def _cpu_name():
    """Return the processor's marketing name where the system tells it, else its architecture."""
    try:
        # Linux on x86; platform.processor() says no more than the architecture there, or nothing.
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # no such file outside Linux
        pass
    return platform.processor() or platform.machine()
