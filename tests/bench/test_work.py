"""Counts of operations: tiny graphs against numbers worked out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks.harness.work import UnknownProduct, flops

Arrays = dict[str, NDArray[Any]]
Count = Callable[..., int]


def floats(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, dtype=np.float32)


@pytest.fixture
def count(tmp_path: Path) -> Count:
    """The operations of one node whose inputs are `given`, then its `constant` weights."""

    def counted(op: str, given: Arrays, constant: Arrays, domain: str = "", times: int = 1, **attributes: Any) -> int:
        node = helper.make_node(op, [*given, *constant], ["y"], domain=domain, **attributes)
        return of_nodes([node], given, constant, times)

    def of_nodes(nodes: list[onnx.NodeProto], given: Arrays, constant: Arrays, times: int = 1) -> int:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in given.items()
        ]
        weights = [numpy_helper.from_array(value, name) for name, value in constant.items()]
        # onnxruntime infers the type of the result.
        graph = helper.make_graph(nodes, "one", inputs, [onnx.ValueInfoProto(name="y")], weights)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        path = tmp_path / "graph.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return flops(path, *[given] * times)

    return counted


def test_matrix_product(count: Count) -> None:
    given, weight = {"x": floats(2, 3, 4)}, {"w": floats(4, 5)}
    assert count("MatMul", given, weight) == 2 * 2 * 3 * 4 * 5
    assert count("MatMul", {"x": floats(2, 3, 4), "z": floats(2, 4, 7)}, {}) == 2 * 2 * 3 * 4 * 7


def test_each_of_several_runs_counts(count: Count) -> None:
    assert count("MatMul", {"x": floats(3, 4)}, {"w": floats(4, 5)}, times=3) == 3 * 2 * 3 * 4 * 5


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(count: Count, transposed: int) -> None:
    x = floats(4, 3) if transposed else floats(3, 4)
    assert count("Gemm", {"x": x}, {"w": floats(5, 4)}, transA=transposed, transB=1) == 2 * 3 * 4 * 5


@pytest.mark.parametrize("transposed", [0, 1])
def test_fused_product(count: Count, transposed: int) -> None:
    x = floats(2, 4, 3) if transposed else floats(2, 3, 4)
    given = {"x": x, "z": floats(2, 4, 5)}
    assert count("FusedMatMul", given, {}, domain="com.microsoft", transA=transposed) == 2 * 2 * 3 * 4 * 5


def test_convolution(count: Count) -> None:
    # 6 filters of 4 / 2 channels and 3 steps, at each of the 10 - 3 + 1 = 8 places.
    assert count("Conv", {"x": floats(1, 4, 10)}, {"w": floats(6, 2, 3)}, group=2) == 2 * 6 * 8 * 2 * 3


def test_convolution_over_two_dimensions(count: Count) -> None:
    given = {"x": floats(2, 2, 5, 128)}
    assert count("Conv", given, {"w": floats(8, 2, 1, 4)}, strides=[1, 2], pads=[0, 1, 0, 1]) == (
        2 * (2 * 8 * 5 * 64) * (2 * 1 * 4)
    )


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers(count: Count, op: str, gates: int) -> None:
    steps, batch, width, state = 7, 2, 5, 3
    weights = {"w": floats(1, gates * state, width), "r": floats(1, gates * state, state)}
    found = count(op, {"x": floats(steps, batch, width)}, weights, hidden_size=state)
    assert found == 2 * steps * batch * gates * state * (width + state)


def test_product_of_8_bit_integers(count: Count) -> None:
    given = {"x": np.ones((3, 4), dtype=np.uint8)}
    assert count("MatMulInteger", given, {"w": np.ones((4, 5), dtype=np.int8)}) == 2 * 3 * 4 * 5


def test_product_of_8_bit_integers_scaled(count: Count) -> None:
    given = {"x": np.ones((3, 4), dtype=np.uint8), "w": np.ones((4, 5), dtype=np.int8)}
    scales = {"a": floats(1), "b": floats(5)}
    assert count("MatMulIntegerToFloat", given, scales, domain="com.microsoft") == 2 * 3 * 4 * 5


@pytest.mark.parametrize("level", [0, 4])
def test_product_with_weights_in_blocks(count: Count, level: int) -> None:
    # 40 rows are two blocks of 32; the empty part of the second is no work.
    weights = {"w": np.ones((5, 2, 32), dtype=np.uint8), "scales": floats(5, 2)}
    attributes = {"K": 40, "N": 5, "bits": 8, "block_size": 32, "accuracy_level": level}
    assert count("MatMulNBits", {"x": floats(3, 40)}, weights, domain="com.microsoft", **attributes) == 2 * 3 * 40 * 5


def test_attention(count: Count) -> None:
    batch, time, seen, width = 2, 3, 5, 8
    given = {"q": floats(batch, time, width), "k": floats(batch, seen, width), "v": floats(batch, seen, width)}
    found = count("MultiHeadAttention", given, {}, domain="com.microsoft", num_heads=2)
    assert found == 4 * batch * time * seen * width


def test_attention_that_makes_its_own_operands(count: Count) -> None:
    batch, time, width = 2, 3, 8
    weights = {"w": floats(width, 3 * width), "b": floats(3 * width)}
    found = count("Attention", {"x": floats(batch, time, width)}, weights, domain="com.microsoft", num_heads=2)
    assert found == 2 * batch * time * width * 3 * width + 4 * batch * time * time * width


def test_elementwise_work_and_tables_are_not_counted(count: Count) -> None:
    assert count("Add", {"x": floats(3, 4)}, {"w": floats(3, 4)}) == 0
    assert count("Gather", {}, {"w": floats(3, 4), "i": np.array([1])}) == 0


def test_a_product_that_is_not_known_is_an_error(count: Count) -> None:
    with pytest.raises(UnknownProduct, match="ConvTranspose"):
        count("ConvTranspose", {"x": floats(1, 4, 10)}, {"w": floats(4, 2, 3)})
    with pytest.raises(UnknownProduct, match="Einsum"):
        count("Einsum", {"x": floats(3, 4), "z": floats(4, 5)}, {}, equation="ij,jk->ik")
