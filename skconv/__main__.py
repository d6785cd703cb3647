"""The command line: ``skconv demo`` trains a network in front of you, ``skconv info`` tells what it runs on."""

import argparse
import sys
from importlib.metadata import version


def main(argv=None):
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments after the program's name; None takes those of the process.

    Returns
    -------
    status : int
        0 after success, 1 after an error that was told on the standard error, 130 after Ctrl-C.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return args.command(args)
    except KeyboardInterrupt:
        return 130  # as shells report a process that Ctrl-C ended


def _parser():
    parser = argparse.ArgumentParser(prog="skconv", description="Convolutional networks for scikit-learn, on the CPU.")
    parser.add_argument("--version", action="version", version=f"skconv {version('skconv')}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands")

    info = commands.add_parser("info", help="print versions, instruction set and threads")
    info.set_defaults(command=_info)

    demo = commands.add_parser("demo", help="train the default CNNClassifier on handwritten digits")
    demo.set_defaults(command=_demo)
    demo.add_argument(
        "--dataset",
        choices=sorted(_DATASETS),
        default="digits",
        help="digits: 8x8, comes with scikit-learn; mnist: 28x28, read from the folder in the environment variable "
        "SKCONV_DATA (mnist/*.gz) where that is set, else fetched from OpenML (default: %(default)s)",
    )
    demo.add_argument("--epochs", type=_integer(1, 10**6), help="passes over the data (default: the estimator's)")
    demo.add_argument("--seed", type=_integer(0, 2**32 - 1), default=0, help="of split and training (default: 0)")
    demo.add_argument("--threads", type=_integer(1, 1024), help="threads to train and predict with (default: all)")
    return parser


def _integer(low, high):
    """Return a parser of command-line integers from ``low`` to ``high``, for argparse's ``type``."""

    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
        return number

    return parse


def _info(args):
    from ._versions import show_versions

    show_versions()
    return 0


def _demo(args):
    import time

    from sklearn.metrics import confusion_matrix
    from threadpoolctl import threadpool_limits

    from . import _engine
    from .classifier import CNNClassifier

    start = time.perf_counter()
    try:
        X_train, X_test, y_train, y_test = _DATASETS[args.dataset](args.seed)
    except (OSError, ValueError) as error:
        print(f"skconv demo: cannot load {args.dataset}: {error}", file=sys.stderr)
        return 1
    n_train, height, width = X_train.shape
    n_test = len(X_test)
    print(
        f"{args.dataset}: {n_train + n_test:,} images of {height}x{width} pixels, {len(set(y_train))} classes; "
        f"{n_train:,} to train on, {n_test:,} to test on\n"
    )

    clf = CNNClassifier(random_state=args.seed, verbose=2)  # 2: the table of layers, then a line per epoch
    if args.epochs is not None:
        clf.set_params(max_iter=args.epochs)
    with threadpool_limits(args.threads, user_api="openmp"):  # None sets no limit
        n_threads = _engine.effective_n_threads()
        fit_start = time.perf_counter()
        clf.fit(X_train, y_train)
        fit_time = time.perf_counter() - fit_start
        if not hasattr(clf, "classes_"):
            return 130  # Ctrl-C before the end of the first epoch: fit has warned, and there is nothing to test
        y_pred = clf.predict(X_test)

    print(f"\ntest accuracy: {(y_pred == y_test).mean():.2%}\n")
    print("confusion matrix (a row per true class, a column per predicted one):")
    print(_confusion_table(clf.classes_, confusion_matrix(y_test, y_pred, labels=clf.classes_)))
    print(
        f"\ntotal time: {time.perf_counter() - start:.2f} s, of it training: {fit_time:.2f} s\n"
        f"training speed: {n_train * clf.n_iter_ / fit_time:,.0f} images per second\n"
        f"threads: {n_threads}, instruction set: {_engine.isa()}"
    )
    return 0


def _confusion_table(classes, counts):
    """Lay a confusion matrix out in aligned columns; a zero is a dot, so that the mistakes stand out."""
    rows = [["", *classes]]
    rows += [[label, *(count or "." for count in row)] for label, row in zip(classes, counts)]
    width = max(len(str(cell)) for row in rows for cell in row)
    return "\n".join(" ".join(f"{cell!s:>{width}}" for cell in row) for row in rows)


def _load_digits(seed):
    """Return scikit-learn's 8x8 digits, a fifth of each class set aside for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    return train_test_split(digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=seed)


def _load_mnist(seed):
    """Return MNIST in its customary split, 60,000 to train on and 10,000 to test on; nothing depends on the seed."""
    import os
    from pathlib import Path

    if "SKCONV_DATA" in os.environ:
        folder = Path(os.environ["SKCONV_DATA"]) / "mnist"
        parts = ("train-images-idx3", "t10k-images-idx3", "train-labels-idx1", "t10k-labels-idx1")
        return [_read_idx(folder / f"{part}-ubyte.gz") for part in parts]

    from sklearn.datasets import fetch_openml

    print("Fetching MNIST from OpenML; scikit-learn keeps it for the next time ...", flush=True)
    # liac-arff is slow but needs no pandas
    X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
    images, labels = X.reshape(-1, 28, 28).astype("uint8"), y.astype("uint8")
    return images[:60_000], images[60_000:], labels[:60_000], labels[60_000:]


def _read_idx(path):
    """Read one gzipped file of MNIST's idx format: two zeros, type, number of dimensions, sizes, then the values.

    Parameters
    ----------
    path : pathlib.Path
        The file to read; its values must be unsigned bytes.

    Returns
    -------
    values : ndarray of uint8
        With the shape that the file's head tells.
    """
    import gzip
    import zlib

    import numpy as np

    try:
        data = gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    unsigned_byte = 8
    if len(data) < 4 or data[:3] != bytes([0, 0, unsigned_byte]) or len(data) < 4 * (1 + data[3]):
        raise ValueError(f"{path} is not an idx file of unsigned bytes")
    n_dims = data[3]
    shape = np.frombuffer(data, ">u4", count=n_dims, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 * (1 + n_dims))
    if values.size != shape.prod(dtype=np.uint64):
        raise ValueError(f"{path} announces values of shape {tuple(shape.tolist())} but holds {values.size}")
    return values.reshape(shape)


_DATASETS = {"digits": _load_digits, "mnist": _load_mnist}


if __name__ == "__main__":
    sys.exit(main())
