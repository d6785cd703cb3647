"""The default CNNClassifier on MNIST: test accuracy over seeds, time, and peak memory, with ``uint8`` images.

    SKCONV_DATA=... python benchmarks/mnist.py [--seeds 0 1 2]

Each seed has its own process. The peak is that of the whole process, import and data included.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

WORKER = """
import gzip, json, os, resource, sys, time
import numpy as np
from skconv import CNNClassifier

def read(name, offset, shape):
    with gzip.open(os.path.join(os.environ["SKCONV_DATA"], "mnist", name)) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=offset).reshape(shape)

X, X_test = (read(f"{part}-images-idx3-ubyte.gz", 16, (-1, 28, 28)) for part in ("train", "t10k"))
y, y_test = (read(f"{part}-labels-idx1-ubyte.gz", 8, -1) for part in ("train", "t10k"))
start = time.perf_counter()
clf = CNNClassifier(random_state=int(sys.argv[1])).fit(X, y)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([clf.score(X_test, y_test), clf.n_iter_, seconds, peak]))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if "SKCONV_DATA" not in os.environ:
        sys.exit("set SKCONV_DATA to the folder that holds mnist/train-images-idx3-ubyte.gz and its companions")
    scores = []
    for seed in args.seeds:
        # -I: the flat tree beside this folder must not be imported.
        result = subprocess.run(
            [sys.executable, "-I", "-c", WORKER, str(seed)], check=True, capture_output=True, text=True
        )
        score, n_iter, seconds, peak = json.loads(result.stdout)
        scores.append(score)
        print(
            f"seed {seed}: test accuracy {score:.2%}, {n_iter} epochs, {seconds:.1f} s, peak memory {peak:.0f} MiB",
            flush=True,
        )
    print(f"mean {np.mean(scores):.2%}, standard deviation {np.std(scores):.2%}")


if __name__ == "__main__":
    main()
