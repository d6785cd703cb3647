"""A bank of 32 complex Gabor filters over a 512x512 image, next to OpenCV, SciPy and scikit-image; and 12 megapixels.

    python benchmarks/gabor.py [--processes 7] [--threads 2] [--peer-python PATH] [--skip-skimage] [--skip-large]

The filters are those of scikit-image: frequencies 0.05, 0.1, 0.2 and 0.4, eight orientations, 7x7 to 69x69 pixels. The
image is float32, random, drawn afresh for every turn; the result is the magnitude of every response, with what lies
around the image mirrored. Every side has processes of its own, in turn; compared are the fastest deciles of all calls
of a side. Ratios are to `skconv`, where both sides write into arrays that exist:

* skconv: the network behind `GaborFilterBank().transform`, into an array that exists, (1, 512, 512, 32); transform: the
  method itself, which checks the image and allocates its result every time;
* opencv: `filter2D` of the real and of the imaginary kernels, `magnitude` of both, into arrays that exist;
* scipy: the padded image transformed once, one complex inverse transform per filter, in batches, cropped, `abs`;
  float32 throughout, fast lengths, `workers`, the best of four sizes of batches. The kernels' own transforms are made
  beforehand and not counted;
* skimage: `skimage.filters.gabor` per filter, and `hypot` (once per process: it takes seconds).

Errors are the largest difference from direct convolution in float64, relative to the largest response. OpenCV, SciPy
and scikit-image may live in another environment (`--peer-python`).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FREQUENCIES, N_ORIENTATIONS, SIDE = (0.05, 0.1, 0.2, 0.4), 8, 512
SECONDS = 3.0


def fastest_decile(times):
    return sorted(times)[max(0, -(-len(times) // 10) - 1)]


def timed(call, seconds=SECONDS):
    """Times of calls for some seconds, after two that warm up."""
    call(), call()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


# ---- workers: each in a process of its own; print times and the path of what they computed -------------------------


def work_transform(image, kernels, n_threads):
    from skconv import GaborFilterBank

    X = image[None]
    bank = GaborFilterBank(N_ORIENTATIONS, FREQUENCIES).fit(X)
    return timed(lambda: bank.transform(X)), bank.transform(X)[0]


def work_skconv(image, kernels, n_threads):
    from skconv import GaborFilterBank
    from skconv._network import Network

    X = image[None, :, :, None]
    network = Network(GaborFilterBank(N_ORIENTATIONS, FREQUENCIES).bind(X.shape[1:]))
    out = np.empty((1, *network.out_shape), dtype=np.float32)
    return timed(lambda: network.predict(X, out=out)), out[0]


def work_opencv(image, kernels, n_threads):
    import cv2

    cv2.setNumThreads(n_threads)
    parts = [(np.ascontiguousarray(k.real), np.ascontiguousarray(k.imag)) for k in kernels]
    real, imaginary = np.empty_like(image), np.empty_like(image)
    out = np.empty((len(kernels), *image.shape), dtype=np.float32)

    def call():
        for (re, im), magnitude in zip(parts, out):
            cv2.filter2D(image, cv2.CV_32F, re, dst=real, borderType=cv2.BORDER_REFLECT)
            cv2.filter2D(image, cv2.CV_32F, im, dst=imaginary, borderType=cv2.BORDER_REFLECT)
            cv2.magnitude(real, imaginary, magnitude=magnitude)

    return timed(call), np.moveaxis(out, 0, -1)


def work_scipy(image, kernels, n_threads):
    from scipy import fft

    reach = max(k.shape[0] for k in kernels) // 2
    size = [fft.next_fast_len(n + 2 * reach) for n in image.shape]
    spectra = np.empty((len(kernels), *size), dtype=np.complex64)
    for spectrum, kernel in zip(spectra, kernels):
        turned = np.zeros(size, dtype=complex)
        half = kernel.shape[0] // 2
        turned[: kernel.shape[0], : kernel.shape[1]] = kernel[::-1, ::-1]
        spectrum[...] = fft.fft2(np.roll(turned, (reach - 2 * half - (reach - half),) * 2, axis=(0, 1)))
    padded = np.zeros(size, dtype=np.float32)
    shape = tuple(n + 2 * reach for n in image.shape)

    def run(batch, out):
        padded[: shape[0], : shape[1]] = np.pad(image, reach, mode="symmetric")
        spectrum = fft.fft2(padded, workers=n_threads)
        for i in range(0, len(spectra), batch):
            responses = fft.ifft2(spectra[i : i + batch] * spectrum, workers=n_threads, overwrite_x=True)
            inner = responses[:, reach : reach + image.shape[0], reach : reach + image.shape[1]]
            np.abs(inner, out=out[i : i + batch])

    out = np.empty((len(kernels), *image.shape), dtype=np.float32)
    # The best of several batch sizes counts.
    batches = {batch: fastest_decile(timed(lambda batch=batch: run(batch, out), 0.5)) for batch in (1, 4, 8, 32)}
    best = min(batches, key=batches.get)
    return timed(lambda: run(best, out)), np.moveaxis(out, 0, -1)


def work_skimage(image, kernels, n_threads):
    from skimage.filters import gabor

    out = np.empty((*image.shape, len(kernels)), dtype=np.float32)
    start = time.perf_counter()
    for i in range(len(kernels)):
        frequency, k = FREQUENCIES[i // N_ORIENTATIONS], i % N_ORIENTATIONS
        np.hypot(*gabor(image, frequency, k * np.pi / N_ORIENTATIONS), out=out[..., i])
    return [time.perf_counter() - start], out


def work_reference(image, kernels, n_threads):
    """Direct convolution in float64, for the errors."""
    from skconv import GaborFilterBank

    bank = GaborFilterBank(N_ORIENTATIONS, FREQUENCIES, algorithm="direct").fit(image[None].astype(float))
    return [0.0], bank.transform(image[None].astype(float))[0]


def work_large(image, kernels, n_threads):
    """40 filters over 12 megapixels, moments: seconds, and the peak memory of the whole process."""
    from skconv import GaborFilterBank

    X = np.random.default_rng().random((1, 3000, 4000), dtype=np.float32)
    bank = GaborFilterBank(8, (0.05, 0.1, 0.2, 0.3, 0.4), features="moments").fit(X)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        moments = bank.transform(X)
        times.append(time.perf_counter() - start)
    return times, np.append(moments[0], peak_memory() / 1e6)


def peak_memory():
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage begins with what the parent held
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work_peak(image, kernels, n_threads):
    from skconv._engine import fma_peak

    return [0.0], np.array([max(fma_peak(n_threads) for _ in range(3))])


WORKERS = {name[5:]: function for name, function in globals().items() if name.startswith("work_")}


def versions(names):
    import importlib.metadata as metadata

    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def worker(arguments):
    data = np.load(arguments.data, allow_pickle=False)
    kernels = [data[f"kernel{i}"] for i in range(sum(name.startswith("kernel") for name in data))]
    times, result = WORKERS[arguments.worker](data["image"], kernels, arguments.threads)
    np.save(arguments.result, result)
    print(json.dumps({
        "times": times,
        "versions": versions(("numpy", "scipy", "scikit-image", "opencv-python-headless", "opencv-python", "skconv")),
    }))  # fmt: skip


# ---- the race ------------------------------------------------------------------------------------------------------


def run(side, folder, python, n_threads):
    """Run one worker; return its times, versions and result."""
    result = folder / f"{side}.npy"
    # -I: the flat tree beside this folder must not be imported.
    command = [python, "-I", __file__, "--worker", side, "--threads", str(n_threads)]
    command += ["--data", str(folder / "data.npz"), "--result", str(result)]
    environment = os.environ | {"OMP_NUM_THREADS": str(n_threads), "OPENBLAS_NUM_THREADS": str(n_threads)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr.strip().splitlines()[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["times"], answer["versions"], np.load(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=7, help="per side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="the interpreter that has OpenCV and scikit-image"
    )
    parser.add_argument("--skip-skimage", action="store_true")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return

    from skconv import GaborFilterBank

    rng = np.random.default_rng()
    kernels = GaborFilterBank(N_ORIENTATIONS, FREQUENCIES).fit(np.zeros((1, 8, 8))).kernels_
    sides = ["skconv", "transform", "opencv", "scipy"] + ([] if arguments.skip_skimage else ["skimage"])
    times, errors, found = {side: [] for side in sides}, dict.fromkeys(sides, 0.0), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peaks = {}

        def measure_peaks():
            for n in (1, arguments.threads):
                peak = run("peak", folder, sys.executable, n)[2][0]
                peaks[n] = max(peak, peaks.get(n, 0))

        for turn in range(arguments.processes):
            image = rng.random((SIDE, SIDE), dtype=np.float32)
            np.savez(folder / "data.npz", image=image, **{f"kernel{i}": kernel for i, kernel in enumerate(kernels)})
            if turn == 0:
                measure_peaks()
                expected = run("reference", folder, sys.executable, arguments.threads)[2]
            for side in sides:
                if side == "skimage" and turn > 2:
                    continue  # three of its long runs tell enough
                python = sys.executable if side in ("skconv", "transform") else arguments.peer_python
                seconds, versions_of_side, result = run(side, folder, python, arguments.threads)
                times[side] += seconds
                found |= versions_of_side
                if turn == 0:
                    errors[side] = np.abs(result - expected).max() / np.abs(expected).max()
        measure_peaks()

        print(", ".join(f"{name} {version}" for name, version in sorted(found.items())))
        ratio = peaks[arguments.threads] / peaks[1]
        print(f"multiply-add peak: {', '.join(f'{p:.0f} GFLOP/s with {n} threads' for n, p in peaks.items())}")
        if ratio < 0.9 * arguments.threads:
            print(f"VOID: {arguments.threads} threads reach {ratio:.2f} times the peak of one; the machine is busy")
        best = {side: fastest_decile(values) for side, values in times.items()}
        for side in sides:
            ratio = best[side] / best["skconv"]
            print(f"{side:9} {best[side] * 1e3:9.1f} ms {ratio:7.1f}   largest error {errors[side]:.1e}")
        if not arguments.skip_large:
            for n in (1, arguments.threads):
                runs = [run("large", folder, sys.executable, n) for _ in range(3)]
                seconds, peak = min(min(r[0]) for r in runs), max(r[2][-1] for r in runs)
                print(f"12 megapixels, 40 filters, moments: {n} threads {seconds:.2f} s, process {peak:.0f} MB")


if __name__ == "__main__":
    main()
