"""What `verbose` prints: a line that is rewritten inside an epoch, and a line or a row of a table for every epoch."""

import sys
import time

from ._profile import Profile, is_wanted

BAR = 24
# Columns of the table: title, width, and format of the value.
_COLUMNS = (
    ("epoch", 7, "d"),
    ("train loss", 12, ".4f"),
    ("train acc", 11, ".4f"),
    ("valid score", 13, ".4f"),
    ("best", 6, "s"),
    ("rate", 10, ".2g"),
    ("dur", 9, ".2f"),
)


class Progress:
    """Printer of a fit.

    Parameters
    ----------
    verbose : int
        0: silent; 1: a line per epoch; 2: the layers first, and a table of epochs; 3: at the end, where the time went.
    max_iter : int
    """

    def __init__(self, verbose, max_iter):
        self.verbose = int(verbose)
        self.max_iter = max_iter
        self._rewrites = self.verbose > 0 and sys.stdout.isatty()
        self._last = 0.0
        self._columns = None

    def table(self, text):
        """Print the table of layers."""
        if self.verbose >= 2:
            print(text, end="\n\n", flush=True)

    def watch(self, network):
        """Let a network that is about to be trained note where the time goes, if somebody wants to know."""
        if is_wanted(self.verbose):
            network.profile = Profile()

    def end(self, network):
        """Print where the time of training went."""
        if network.profile is not None:
            print(network.profile.table(), flush=True)
            network.profile = None

    def within(self, epoch, share):
        """Rewrite the line of the running epoch, ten times a second at most."""
        if self._is_time():
            done = round(share * BAR)
            self._rewrite(f"epoch {epoch + 1:>3}/{self.max_iter} [{'#' * done}{'.' * (BAR - done)}]")

    def epoch(self, result, validation_score=None, is_best=False, rate=None):
        """Print the line of a finished epoch."""
        if self.verbose >= 2:
            self._row(
                {
                    "epoch": result.number + 1,
                    "train loss": result.loss,
                    "train acc": result.accuracy,
                    "valid score": validation_score,
                    "best": None if validation_score is None else "+" if is_best else "",
                    "rate": rate,
                    "dur": result.seconds,
                }
            )
        elif self.verbose:
            line = f"epoch {result.number + 1:>3}/{self.max_iter}  loss {result.loss:.4f}"
            if result.accuracy is not None:
                line += f"  accuracy {result.accuracy:.4f}"
            if validation_score is not None:
                line += f"  validation {validation_score:.4f}"
            self._print(f"{line}  {result.seconds:.2f} s")

    def iteration(self, number, loss):
        """Print the line of an iteration over all samples: every one with verbose=2, else the first of every ten."""
        if self.verbose >= 2 or (self.verbose and number % 10 == 1):
            self._print(f"iteration {number:>3}/{self.max_iter}  loss {loss:.6f}")

    def note(self, text):
        """Print a remark."""
        if self.verbose > 0:
            print(text, flush=True)

    def _row(self, values):
        """Print a row of the table, under its head: the columns that have values in the first row."""
        if self._columns is None:
            self._columns = [column for column in _COLUMNS if values[column[0]] is not None]
            self._print("".join(f"{title:>{width}}" for title, width, _ in self._columns))
            self._print("".join(f"{'-' * (width - 2):>{width}}" for _, width, _ in self._columns))
        self._print("".join(f"{values[title]:>{width}{form}}" for title, width, form in self._columns))

    def _is_time(self):
        now = time.monotonic()
        if not self._rewrites or now - self._last < 0.1:
            return False
        self._last = now
        return True

    def _rewrite(self, line):
        print(f"\r{line}", end="", flush=True)

    def _print(self, line):
        print(("\r" if self._rewrites else "") + line.ljust(BAR + 20 if self._rewrites else 0), flush=True)
