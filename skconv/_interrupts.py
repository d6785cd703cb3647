"""Ctrl-C: which statements it must not part, and which press is for the caller."""

import signal
import time
from contextlib import contextmanager

# A press within this many seconds of one that a fit took for itself is for whoever called the fit.
AGAIN = 10.0
_last = [-float("inf")]


@contextmanager
def deferred_interrupts():
    """Hold Ctrl-C back while a few statements run that belong together; it is raised once they are done."""
    held = []
    before = signal.getsignal(signal.SIGINT)
    try:
        if callable(before):  # else it is ignored, ends the process at once, or is not Python's
            signal.signal(signal.SIGINT, lambda *args: held.append(args))
    except ValueError:  # only the main thread is interrupted
        before = None
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGINT, before)
    if held:
        before(*held[-1])


def take_interrupt():
    """In ``except KeyboardInterrupt``: take the press as a wish to end this fit, or raise it again if it is the second.

    GridSearchCV goes on to the next fit when one returns. The second press often meets that next fit, which has seen
    no other: so the time since the last press decides, and not who received it.
    """
    now = time.monotonic()
    is_second = now - _last[0] < AGAIN
    _last[0] = now
    if is_second:
        raise KeyboardInterrupt
