"""Worker: print the multiply-add peak of this machine with some counts of threads, in GFLOP/s of float32, as JSON.

Run by hand: python benchmarks/peers/peak.py 1 2
"""

import argparse
import json


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--threads", type=int, help="the largest count; how many OpenMP may start")
    args = parser.parse_args()
    try:
        from skconv._engine import fma_peak
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return
    print(json.dumps({"peaks": [fma_peak(count) for count in args.counts]}))


if __name__ == "__main__":
    main()
