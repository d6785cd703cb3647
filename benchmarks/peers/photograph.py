"""Worker: a photograph of 12 megapixels through a bank of filters, skconv alone.

Run by hand: python benchmarks/peers/photograph.py skconv photograph --threads 2

Forty complex Gabor filters and the moments of their responses, as in benchmarks/gabor.py.
"""

import numpy as np
from worker import Task, main, repeat, some_values

CASE = "photograph"


def prepare(side, case, seed, n_threads):
    """See worker.py."""
    import skconv

    X = np.random.default_rng(seed).random((1, 3000, 4000), dtype=np.float32)
    bank = skconv.GaborFilterBank(8, (0.05, 0.1, 0.2, 0.3, 0.4), features="moments").fit(X)
    values = some_values(bank.transform(X))
    return Task(repeat(lambda: bank.transform(X)), values, {"skconv": skconv.__version__, "numpy": np.__version__})


if __name__ == "__main__":
    main(__doc__, prepare, ("skconv",), lambda name: name == CASE)
