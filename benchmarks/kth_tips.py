"""KTH-TIPS textures by the moments of a Gabor bank: GaborFilterBank, and the same filters of scikit-image.

    SKCONV_DATA=/folder/with/data python benchmarks/kth_tips.py [--peer-python PATH] [--peer-images 810]

The folder holds `kth_tips.npz`.

810 grey images of 200x200 pixels, 10 classes, photographed at 9 scales. The features are the mean and the standard
deviation of the magnitude of 40 filters (eight orientations, frequencies 0.05 to 0.4 in half octaves), classified by
logistic regression on standardised features, in stratified 5-fold cross-validation. scikit-image runs in a process of
its own, on every image or, with --peer-images, on the first so many of every class in turn; both sides are then scored
on these. Times are of the features alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FREQUENCIES, N_ORIENTATIONS = tuple(0.05 * 2 ** (0.75 * k) for k in range(5)), 8


def load():
    folder = os.environ.get("SKCONV_DATA")
    if not folder:
        raise SystemExit("set SKCONV_DATA to the folder that holds kth_tips.npz")
    data = np.load(Path(folder) / "kth_tips.npz")
    X = next(array for array in data.values() if array.ndim >= 3)
    y = next(array for array in data.values() if array.ndim == 1 and len(array) == len(X))
    return X.astype(np.float32) / 255, y


def skimage_features(X):
    from skimage.filters import gabor

    features = []
    for image in X:
        row = []
        for frequency in FREQUENCIES:
            for k in range(N_ORIENTATIONS):
                magnitude = np.hypot(*gabor(image, frequency, k * np.pi / N_ORIENTATIONS))
                row += [magnitude.mean(), magnitude.std()]
        features.append(row)
    return np.array(features)


def score(features, y):
    """Mean accuracy and its deviation over five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(pipeline, features, y, cv=folds)
    return scores.mean(), scores.std()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", default=sys.executable, help="the interpreter that has scikit-image")
    parser.add_argument("--peer-images", type=int, default=810)
    parser.add_argument("--peer-result", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    X, y = load()
    # The first images of every class in turn, so that any number of them holds all classes.
    turn = np.argsort([np.sum(y[:i] == y[i]) for i in range(len(y))], kind="stable")
    few = np.sort(turn[: arguments.peer_images])
    if arguments.peer_result:
        start = time.perf_counter()
        features = skimage_features(X[few])
        print(json.dumps(time.perf_counter() - start))
        np.save(arguments.peer_result, features)
        return

    from threadpoolctl import threadpool_limits

    from skconv import GaborFilterBank

    bank = GaborFilterBank(N_ORIENTATIONS, FREQUENCIES, features="moments")
    with threadpool_limits(arguments.threads):
        start = time.perf_counter()
        features = bank.fit_transform(X)
        seconds = time.perf_counter() - start
    mean, deviation = score(features, y)
    print(f"skconv        {len(X)} images, {seconds:.2f} s, accuracy {mean:.4f} +- {deviation:.4f}")
    with tempfile.TemporaryDirectory() as name:
        result = Path(name) / "features.npy"
        command = [arguments.peer_python, "-I", __file__, "--peer-result", str(result)]
        command += ["--peer-images", str(arguments.peer_images)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peer, peer_seconds = np.load(result), json.loads(done.stdout)
    own = features[few]
    for side, values in (("skconv", own), ("scikit-image", peer)):
        mean, deviation = score(values, y[few])
        print(f"{side:13} {len(few)} images, accuracy {mean:.4f} +- {deviation:.4f}")
    longer = peer_seconds / len(few) / (seconds / len(X))
    difference = np.abs(own - peer).max() / np.abs(peer).max()
    print(f"scikit-image  {peer_seconds:.1f} s on one thread, {longer:.0f} times as long per image")
    print(f"largest difference of the features, relative to the largest: {difference:.1e}")


if __name__ == "__main__":
    main()
