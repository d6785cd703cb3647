"""One 512x512 colour image through ``Conv2DTransformer(64, 7)``, on one thread and on two.

    python benchmarks/threads.py [--processes 7]

Each count of threads has its own processes, in turn; compared are the fastest deciles of all calls of a side. Both
sides allocate their results.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

WORKER = """
import json, time
import numpy as np
from skconv import Conv2DTransformer

X = np.random.default_rng(0).standard_normal((1, 512, 512, 3), dtype=np.float32)
layer = Conv2DTransformer(64, 7, random_state=0).fit(X)
layer.transform(X)
times = []
for _ in range(40):
    start = time.perf_counter()
    layer.transform(X)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=7, help="per count of threads")
    args = parser.parse_args()
    times = {1: [], 2: []}
    for _ in range(args.processes):
        for n_threads, side in times.items():
            environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}
            # -I: the flat tree beside this folder must not be imported.
            result = subprocess.run(
                [sys.executable, "-I", "-c", WORKER], env=environment, check=True, capture_output=True, text=True
            )
            side += json.loads(result.stdout)
    one, two = (np.quantile(side, 0.1) * 1e3 for side in times.values())
    print(f"one thread {one:.1f} ms, two threads {two:.1f} ms: {one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
