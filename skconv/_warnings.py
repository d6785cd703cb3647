"""Warnings that point at the line of the user's, however many frames of ours and of scikit-learn's lie between."""

import sys
import warnings


def warn_user(message, category=UserWarning):
    """Warn from the first frame outside this package and scikit-learn, whose decorators come between."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("skconv", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
