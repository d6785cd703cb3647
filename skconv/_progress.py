"""What `verbose` prints: a line that is rewritten inside an epoch, and a line for every epoch."""

import sys
import time

BAR = 24


class Progress:
    """Printer of a fit.

    Parameters
    ----------
    verbose : int
        0: silent; 1: a line per epoch; 2: the table of layers first.
    max_iter : int
    """

    def __init__(self, verbose, max_iter):
        self.verbose = int(verbose)
        self.max_iter = max_iter
        self._rewrites = self.verbose > 0 and sys.stdout.isatty()
        self._last = 0.0

    def table(self, text):
        """Print the table of layers."""
        if self.verbose >= 2:
            print(text, end="\n\n", flush=True)

    def within(self, epoch, share):
        """Rewrite the line of the running epoch, ten times a second at most."""
        now = time.monotonic()
        if not self._rewrites or now - self._last < 0.1:
            return
        self._last = now
        done = round(share * BAR)
        print(f"\repoch {epoch + 1:>3}/{self.max_iter} [{'#' * done}{'.' * (BAR - done)}]", end="", flush=True)

    def epoch(self, result, validation_score=None):
        """Print the line of a finished epoch."""
        if self.verbose < 1:
            return
        line = f"epoch {result.number + 1:>3}/{self.max_iter}  loss {result.loss:.4f}  accuracy {result.accuracy:.4f}"
        if validation_score is not None:
            line += f"  validation {validation_score:.4f}"
        print(("\r" if self._rewrites else "") + f"{line}  {result.seconds:.2f} s".ljust(BAR + 20), flush=True)

    def note(self, text):
        """Print a remark."""
        if self.verbose > 0:
            print(text, flush=True)
