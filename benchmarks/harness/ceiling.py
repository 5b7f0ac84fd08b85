"""The peak rate that onnxruntime reaches on this machine, from large matrix products with constant weights."""

import statistics
import time
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.settings import Precision, Provider

SIZE: dict[Provider, int] = {"cpu": 1024, "cuda": 4096}  # rows and columns of the matrices
WEIGHTS: dict[Provider, int] = {"cpu": 16, "cuda": 4}  # multiplied by in turn, so that no cache holds the next
RUNS = 7
ZERO_POINT = 128  # of the 8-bit activations


def matmul_ceiling(precision: Precision, threads: int, provider: Provider = "cpu") -> float | None:
    """Billions of operations per second, the median of `RUNS`: MatMul in fp32 and fp16, MatMulInteger of u8 and s8.

    None if onnxruntime has no such product on `provider`: fp16 on a CPU, int8 on a GPU.
    """
    if (precision, provider) in (("fp16", "cpu"), ("int8", "cuda")):
        return None
    size, count = SIZE[provider], WEIGHTS[provider]
    run = _products(precision, threads, provider)
    run()
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 * count / statistics.median(seconds) / 1e9


def _products(precision: Precision, threads: int, provider: Provider) -> Any:
    """A call that multiplies one matrix by each of the weights; operands and results stay on the device."""
    size, count = SIZE[provider], WEIGHTS[provider]
    random = np.random.default_rng(0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    device: Literal["cpu", "cuda"] = provider
    providers = ["CPUExecutionProvider"]
    if provider == "cuda":
        onnxruntime.preload_dlls()
        providers.insert(0, "CUDAExecutionProvider")

    def matrix(kind: Any) -> NDArray[Any]:
        if precision == "int8":
            limits = np.iinfo(kind)
            return random.integers(limits.min, limits.max, size=(size, size), dtype=kind, endpoint=True)
        return random.standard_normal((size, size), dtype=np.float32).astype(kind)

    session = onnxruntime.InferenceSession(
        _graph(precision, [matrix(_TYPES[precision][1]) for _ in range(count)]), options, providers=providers
    )
    binding = session.io_binding()
    x = onnxruntime.OrtValue.ortvalue_from_numpy(matrix(_TYPES[precision][0]), device, 0)
    binding.bind_ortvalue_input("x", x)
    for index in range(count):
        result = np.empty((size, size), dtype=_TYPES[precision][2])
        binding.bind_ortvalue_output(f"y{index}", onnxruntime.OrtValue.ortvalue_from_numpy(result, device, 0))

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


_TYPES: dict[Precision, tuple[Any, Any, Any]] = {
    "fp32": (np.float32, np.float32, np.float32),
    "fp16": (np.float16, np.float16, np.float16),
    "int8": (np.uint8, np.int8, np.int32),
}
"""Types of the activation, the weight and the result."""


def _graph(precision: Precision, weights: list[NDArray[Any]]) -> bytes:
    shape = weights[0].shape
    activation, _, result = (helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in _TYPES[precision])
    initialisers = [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)]
    op, more = "MatMul", []
    if precision == "int8":
        initialisers.append(helper.make_tensor("zero", TensorProto.UINT8, [], [ZERO_POINT]))
        op, more = "MatMulInteger", ["zero"]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", f"w{index}", *more], [f"y{index}"]) for index in range(len(weights))],
        "ceiling",
        [helper.make_tensor_value_info("x", activation, shape)],
        [helper.make_tensor_value_info(f"y{index}", result, shape) for index in range(len(weights))],
        initialisers,
    )
    # onnx's default file format is newer than some releases of onnxruntime can read.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())
