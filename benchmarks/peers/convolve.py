"""Worker: one convolution, or its two gradients, on one side.

Run by hand: python benchmarks/peers/convolve.py skconv 3-16-5-28 --threads 2 --seconds 0.5

A case is channels-filters-kernel-map, see cases.py; "gradients:" before it asks for the gradients by the image and by
the weights, given those by the result. Images and gradients are random and in memory, in the layout that the side likes
best. Every side allocates its result in every call; benchmarks/peers asks the C library to keep freed memory, for all
sides alike, so that computing is compared and not the first touch of fresh pages.

skconv has two ways: `functional.conv`, which takes the weights anew in every call (as PyTorch's does), and
`Conv2DTransformer(filters=...).transform`, which keeps them (as ONNX Runtime does) and looks through the images for
NaN. The faster one counts.

For the gradients the layer runs as in training, with those by its output given. Without activation it needs nothing of
its forward pass then, and the engine leaves that out. PyTorch runs `aten::convolution_backward`.
"""

import numpy as np
from cases import Case
from worker import Task, main, repeat, some_values

SKCONV = ("skconv, function", "skconv, layer")
PYTORCH = ("PyTorch, channels first", "PyTorch, channels last")
SIDES = (*SKCONV, *PYTORCH, "ONNX Runtime")
GRADIENT_SIDES = ("skconv, layer", *PYTORCH)


def data(case, seed, gradients=False):
    """Images, weights (filters, rows, columns, channels) and, where wanted, gradients by the result, float32."""
    rng = np.random.default_rng([seed, *map(int, case.name.split("-"))])
    n, size, k = case.batch_size, case.size, case.kernel_size

    def uniform(*shape):  # from -1 to 1; normal numbers would take longer to draw than to convolve
        values = rng.random(shape, dtype=np.float32)
        values *= 2
        values -= 1
        return values

    x, w = uniform(n, size, size, case.n_channels), uniform(case.n_filters, k, k, case.n_channels)
    w *= np.float32(np.sqrt(3 / (k * k * case.n_channels)))
    return x, w, uniform(n, size, size, case.n_filters) if gradients else None


def skconv_versions():
    """Of skconv and NumPy."""
    import skconv

    return {"skconv": skconv.__version__, "numpy": np.__version__}


def layer_of(case, w):
    """The convolution as a layer of skconv."""
    from skconv import Conv2DTransformer

    return Conv2DTransformer(
        case.n_filters, case.kernel_size, filters=w, activation="identity", fit_intercept=False, padding="same"
    )


def skconv_forward(side, case, seed, n_threads):
    """The function, or the layer."""
    x, w, _ = data(case, seed)
    if side == "skconv, layer":
        layer = layer_of(case, w).fit(x)

        def call():
            return layer.transform(x)
    else:
        from skconv.functional import conv

        def call():
            return conv(x, w, padding="same")

    return Task(repeat(call), some_values(call()), skconv_versions())


def skconv_gradients(side, case, seed, n_threads):
    """A layer in training with gradients by its output given: both gradients and no forward pass."""
    from skconv._network import Network, Plan, _address
    from skconv._plan import aligned_empty

    x, w, dy = data(case, seed, gradients=True)
    n = len(x)
    network = Network(layer_of(case, w).bind(x.shape[1:]))
    network.coefs[0][...] = np.moveaxis(w, 0, -1)
    threads = network.n_training_threads(n)
    state = network.solver_state()
    # As Network.backward, with a plan that is kept from call to call, as in training.
    plan = Plan(
        network.operations, network._segments, network._storage, isa=network.isa, n_threads=threads, capacity=n,
        wants_dx=True, reads_data=True,
    )  # fmt: skip
    order, bounds, rates = np.arange(n), np.array([0, n]), np.zeros(1)
    settings = (0.0, 0.0, 0.0, 0.0, False, 0.0, 0.0)

    def backward():
        dx = aligned_empty(x.shape, x.dtype)
        plan.engine.train(
            x, order, bounds, None, n_threads=threads, solver=0, settings=settings, rates=rates, training=False,
            weights=_address(network._storage), state_1=_address(state.first), state_2=_address(state.second),
            dy=_address(dy), dx=_address(dx),
        )  # fmt: skip
        return dx

    dx = backward()
    dw = network.arrays_of(state.first)[0][0]
    values = some_values(dx, np.moveaxis(dw, -1, 0))
    return Task(repeat(backward), values, skconv_versions())


def pytorch(side, case, seed, n_threads, gradients):
    """Eager PyTorch in one of its memory formats."""
    import torch

    torch.set_num_threads(n_threads)
    memory_format = torch.channels_last if side.endswith("last") else torch.contiguous_format
    x, w, dy = (
        None if array is None else torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        for array in data(case, seed, gradients)
    )
    p = case.kernel_size // 2
    if gradients:

        def call():
            with torch.inference_mode():
                return torch.ops.aten.convolution_backward(
                    dy, x, w, None, [1, 1], [p, p], [1, 1], False, [0, 0], 1, [True, True, False]
                )[:2]
    else:

        def call():
            with torch.inference_mode():
                return (torch.nn.functional.conv2d(x, w, padding=p),)

    values = some_values(*(result.permute(0, 2, 3, 1).contiguous().numpy() for result in call()))
    return Task(repeat(call), values, {"torch": torch.__version__})


def onnxruntime_forward(side, case, seed, n_threads):
    """A session with one node, its weights packed once."""
    import graphs

    x, w, _ = data(case, seed)
    model = graphs.convolution(x.shape, w)
    call, versions = graphs.onnxruntime_call(model, np.ascontiguousarray(x.transpose(0, 3, 1, 2)), n_threads)
    return Task(repeat(call), some_values(call().transpose(0, 2, 3, 1)), versions)


def prepare(side, case, seed, n_threads):
    """See worker.py."""
    gradients, case = case.startswith("gradients:"), Case.of(case.removeprefix("gradients:"))
    if side in PYTORCH:
        return pytorch(side, case, seed, n_threads, gradients)
    if side == "ONNX Runtime":
        return onnxruntime_forward(side, case, seed, n_threads)
    return (skconv_gradients if gradients else skconv_forward)(side, case, seed, n_threads)


def is_case(name):
    """Whether a name can be read."""
    parts = name.removeprefix("gradients:").split("-")
    return len(parts) == 4 and all(part.isdigit() and int(part) > 0 for part in parts)


if __name__ == "__main__":
    main(__doc__, prepare, SIDES, is_case)
