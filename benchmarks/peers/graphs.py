"""ONNX graphs of what is raced, and how ONNX Runtime and OpenVINO run them."""

import time

import networks
import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # old enough for every runtime of the last years


def _model(nodes, weights, in_shape, out_shape):
    """A checked model, serialised, from "x" to "y"."""
    graph = helper.make_graph(
        nodes, "race",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, in_shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, out_shape)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def convolution(in_shape, w):
    """One convolution, padding "same"; shape and weights channels last, the graph channels first."""
    n, height, width, n_channels = in_shape
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[w.shape[1] // 2] * 4)
    return _model([node], {"w": w.transpose(0, 3, 1, 2)}, (n, n_channels, height, width), (n, len(w), height, width))


def network(name, parameters, batch_size):
    """A network of networks.py with the parameters of `networks.first_weights`, from images to probabilities."""
    described = networks.NETWORKS[name]
    height, width, n_channels = described.image_shape
    nodes, weights, last, is_image = [], {}, "x", True
    parameters = iter(parameters)

    def add(kind, *inputs, **attributes):
        nonlocal last
        output = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, [last, *inputs], [output], **attributes))
        last = output

    for i, layer in enumerate((*described.layers, networks.Hidden(described.n_classes))):
        if isinstance(layer, networks.Pool):
            add("MaxPool", kernel_shape=[layer.kernel_size] * 2, strides=[layer.kernel_size] * 2)
            continue
        coef, intercept = next(parameters)
        weights |= {f"w{i}": coef, f"b{i}": intercept}
        if isinstance(layer, networks.Conv):
            weights[f"w{i}"] = coef.transpose(3, 2, 0, 1)
            add("Conv", f"w{i}", f"b{i}", pads=[layer.padding] * 4)
        else:
            if is_image:
                add("Flatten")
                weights[f"w{i}"] = networks.channels_first_rows(name, coef)
                is_image = False
            add("Gemm", f"w{i}", f"b{i}")
        if i < len(described.layers):
            add("Relu")
    add("Softmax")
    nodes[-1].output[0] = "y"
    return _model(nodes, weights, (batch_size, n_channels, height, width), (batch_size, described.n_classes))


def onnxruntime_call(model, x, n_threads):
    """A function that runs the model on `x` and returns its result, and the versions in use.

    Two ways are tried, `run` and `run_with_iobinding` with arrays bound beforehand; the faster one is returned.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": x}

    def run():
        return session.run(None, feed)[0]

    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output("y", "cpu")

    def run_bound():
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    fastest = min((run, run_bound), key=_quick_time)
    return fastest, {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


def openvino_call(model, x, n_threads):
    """A function that runs the model on `x` and returns its result, and the versions in use."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": n_threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # bfloat16 otherwise, where the processor has it
    }
    compiled = openvino.Core().compile_model(openvino.Core().read_model(model), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def call(kept=x):  # the request reads its memory, but does not own it
        request.infer()
        return request.get_output_tensor(0).data

    return call, {"openvino": openvino.__version__.partition("-")[0], "onnx": onnx.__version__}


def _quick_time(call):
    """The shortest of 200 calls, or of those of 20 ms."""
    times, end = [], time.perf_counter() + 0.02
    while len(times) < 2 or (len(times) < 200 and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
