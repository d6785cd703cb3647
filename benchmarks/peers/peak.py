"""Worker: print the multiply-add peak of this machine with n threads, in GFLOP/s of float32, as JSON.

Run by hand: python benchmarks/peers/peak.py --threads 2
"""

import argparse
import json


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    try:
        from skconv._engine import fma_peak
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return
    print(json.dumps({"peak": fma_peak(args.threads)}))


if __name__ == "__main__":
    main()
