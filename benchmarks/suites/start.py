"""What starting costs: `import skconv` in a fresh interpreter, alone and beyond what scikit-learn takes by itself."""

import re
import subprocess
import sys


class Import:
    """The time of a whole process, and skconv's own part of it."""

    timeout = 120  # seconds

    def timeraw_import(self):
        """`import skconv`, NumPy and scikit-learn included, in a process of its own."""
        return "import skconv"

    def track_own_import(self):
        """Time in skconv's own modules, the least of five processes: what the machine does besides only adds."""
        return min(own_import_time() for _ in range(5))

    track_own_import.unit = "ms"


def own_import_time():
    """Milliseconds that ``python -X importtime`` counts for the modules of skconv, without what they import."""
    command = [sys.executable, "-X", "importtime", "-c", "import skconv"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    times = re.findall(r"^import time: +(\d+) \| +\d+ \| +(?:skconv|skconv\..*)$", report, re.MULTILINE)
    return sum(map(int, times)) / 1000
