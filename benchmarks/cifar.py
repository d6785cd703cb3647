"""CNNClassifier on CIFAR-10, by default or by a recipe of its own: accuracy, time and peak memory.

    SKCONV_DATA=/folder/with/data python benchmarks/cifar.py [--recipe | --defaults] [--seeds 0 1 2] [--validate]

Each seed has its own process. Seconds are those of `fit`, on OMP_NUM_THREADS threads; the peak is that of the whole
process, import and data included. ``--validate`` trains on the first 45,000 training images and scores on the other
5,000, and the test images are left alone. The second accuracy is that of the probabilities of every image and of its
mirror image, averaged.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import data
import numpy as np

N_VALIDATION = 5_000


def recipe(random_state=None, verbose=0):
    """An unfitted classifier for small photographs.

    The network and the training are those of Jordan's airbench94 [1]_, with fewer filters in the second block and no
    identities as first weights, for more epochs and with stronger augmentation. What was tried is in
    benchmarks/README.md.

    * The first layer is not trained: the principal components of 2x2 patches, whitened, and their negatives ([1]_,
      section 3.2). It costs no gradient.
    * Three blocks of convolution, pooling, BatchNorm, ReLU, convolution, BatchNorm, ReLU. Pooling stands before
      BatchNorm, which leaves it a quarter of the values, and max pooling is fused with the convolution. ReLU instead of
      GELU: BatchNorm activates in its own pass, and the error function is slow on a processor.
    * The running statistics of BatchNorm forget faster than by default (momentum 0.6, as in [1]_): those of the last
      steps count, and there are few.
    * The largest value of every map goes to the output layer, as in [1]_: 256 weights per class.
    * SGD with Nesterov's momentum and one cycle. On the validation images 3 epochs of it were as good as Adam's.
    * `alpha` is 7e-4 times the batch size, because it is divided by it: about the weight decay of 5e-4 in [2]_.
    * Images are flipped, moved by up to 4 pixels into their mirror image, and lose a box of 8x8 pixels, as in [2]_.
      After 10 epochs with flips and shifts by 2 pixels alone, the network knew its training images too well.
    * Labels are smoothed and weights averaged over some 100 steps, as in [1]_ and [2]_.
    * 30 epochs, because the hour that the recipe may take has room for them.
    * It predicts by `mirrored_proba`, as [1]_ does.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0

    Returns
    -------
    CNNClassifier

    References
    ----------
    .. [1] Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498;
       github.com/KellerJordan/cifar10-airbench, legacy/airbench94.py.
    .. [2] Page, "How to train your ResNet", 2018 and 2019, from which that comes.
    """
    from skconv import BatchNorm, CNNClassifier, Conv2DTransformer, GlobalPool, MaxPool

    white = Conv2DTransformer(24, 2, filters="whitening", padding="valid", trainable=False)
    layers = [("white", white)]
    for block, n_filters in enumerate((64, 192, 256), start=1):
        for half in "ab":
            conv = Conv2DTransformer(n_filters, 3, activation="identity", fit_intercept=False)
            layers.append((f"conv{block}{half}", conv))
            if half == "a":
                layers.append((f"pool{block}", MaxPool(2)))
            layers.append((f"norm{block}{half}", BatchNorm(momentum=0.6, activation="relu")))
    layers.append(("global", GlobalPool("max")))
    batch_size = 256
    return CNNClassifier(
        layers=layers,
        augment={"flip": True, "shift": 4, "fill": "reflect", "cutout": 8},
        label_smoothing=0.1,
        ema_decay=0.99,
        solver="sgd",
        learning_rate_init=0.4,
        alpha=7e-4 * batch_size,
        batch_size=batch_size,
        max_iter=30,
        random_state=random_state,
        verbose=verbose,
    )


def mirrored_proba(clf, images):
    """The mean of the probabilities of every image and of its mirror image ([1]_ of `recipe`, section 3.5)."""
    return (clf.predict_proba(images) + clf.predict_proba(images[:, :, ::-1])) / 2


def defaults(random_state=None, verbose=0):
    """The classifier as it is without a parameter."""
    from skconv import CNNClassifier

    return CNNClassifier(random_state=random_state, verbose=verbose)


def work(make, seed, validates, verbose):
    """Measure in this process and print the figures as JSON."""
    X, y, X_test, y_test = data.cifar10()
    if validates:
        X_test, y_test = X[-N_VALIDATION:], y[-N_VALIDATION:]
        X, y = X[:-N_VALIDATION], y[:-N_VALIDATION]
    clf = make(random_state=seed, verbose=verbose)
    wall, processor = time.perf_counter(), time.process_time()
    clf.fit(X, y)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    both = clf.predict_proba(X_test), mirrored_proba(clf, X_test)
    score, mirrored = (float(np.mean(clf.classes_[shares.argmax(axis=1)] == y_test)) for shares in both)
    print(json.dumps([score, mirrored, int(clf.n_iter_), wall, processor, peak]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", dest="make", action="store_const", const="recipe", default="recipe")
    parser.add_argument("--defaults", dest="make", action="store_const", const="defaults")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--validate", action="store_true", help="hold out training images instead of testing")
    parser.add_argument("--verbose", action="store_true", help="a line per epoch")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        make = {"recipe": recipe, "defaults": defaults}[args.make]
        return work(make, args.seeds[0], args.validate, args.verbose)
    data.path("cifar10_jpeg.npz")  # ends here if it is missing
    options = [f"--{args.make}", *["--validate"] * args.validate, *["--verbose"] * args.verbose]
    scores = []
    for seed in args.seeds:
        command = [sys.executable, __file__, "--worker", "--seeds", str(seed), *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if not line.startswith("["):  # the figures come last
                    print(line, end="", flush=True)
        if process.returncode:
            sys.exit(f"seed {seed}: ended with status {process.returncode}")
        score, mirrored, n_iter, wall, processor, peak = json.loads(line)
        scores.append(score)
        print(
            f"seed {seed}: {'validation' if args.validate else 'test'} accuracy {score:.2%}, with mirror images "
            f"{mirrored:.2%}, {n_iter} epochs, {wall:.0f} s, processor {processor:.0f} s on "
            f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, peak memory {peak:.0f} MiB",
            flush=True,
        )
    if len(scores) > 1:
        print(f"mean {np.mean(scores):.2%}, standard deviation {np.std(scores, ddof=1):.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
