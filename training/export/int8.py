"""The graphs in int8, for a CPU: matrix products in 8-bit integers, embedding tables in 8 bits.

A product x W becomes, with a scale for each row of x, computed from that row at run time, and one for each column of W,

    scale = max |x| / 127;  x W ~ scale * columns * (round(x / scale) + 128 - 128) W8

in `MatMulIntegerToFloat` of uint8 by int8, for which processors have instructions. The usual dynamic quantisation takes
one scale over the whole tensor, so an answer would change with its batch. After a ReLU the scale is max(x) / 255, and
the ReLU itself is dropped, as uint8 has no negative values.

The audio front-end stays in float32: the power of speech spans more decades than 8 bits hold.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from app.store.manifest import GraphName

from ..networks.attention import DOMAIN
from .fp16 import FRONT_END

INTEGER_PRODUCT = "MatMulIntegerToFloat"  # of onnxruntime's own operators
OPSET = 21  # the first in which QuantizeLinear takes one scale per row
LEAST = 32  # rows and columns of a weight; quantising a smaller product saves too little
TABLE_BYTES = 1_000_000  # in float32; a larger embedding table is quantised


def quantise_int8(fp32: dict[GraphName, Path], folder: Path) -> dict[GraphName, Path]:
    """Writes the graphs in int8 to `folder` and returns their paths."""
    paths: dict[GraphName, Path] = {}
    for name, path in fp32.items():
        paths[name] = folder / f"{name}.int8.onnx"
        onnx.save(_Quantisation(onnx.load(path)).model, paths[name])
    return paths


class _Quantisation:
    """`model` with its products and tables quantised. Products of the same input become one wider product."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
        self.made = {output: node for node in graph.node for output in node.output}
        self.taken: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for value in node.input:
                self.taken[value].append(node)
        self.added: list[TensorProto] = []
        self.nodes: list[NodeProto] = []

        products: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            if self._is_product(node):
                products[node.input[0]].append(node)
        self._constant("int8.one", np.float32(1))
        self._constant("int8.middle", np.uint8(128))
        self._constant("int8.bottom", np.uint8(0))
        self._constant("int8.last", np.array([-1]))
        done: set[str] = set()
        for node in graph.node:
            if node.op_type == "Gather" and self._is_table(node.input[0]):
                self._look_up(node)
            elif not self._is_product(node):
                self.nodes.append(node)
            elif node.input[0] not in done:
                self._multiply(node.input[0], products[node.input[0]])
                done.add(node.input[0])
        self._finish()

    def _is_product(self, node: NodeProto) -> bool:
        if node.op_type != "MatMul" or node.name.startswith(FRONT_END) or node.input[1] not in self.weights:
            return False
        return min(self.weights[node.input[1]].dims) >= LEAST

    def _is_table(self, name: str) -> bool:
        return name in self.weights and 4 * np.prod(self.weights[name].dims) > TABLE_BYTES

    def _multiply(self, x: str, products: Sequence[NodeProto]) -> None:
        """Joins the `products` of x to one."""
        rows, scale, zero = self._rows(x)
        weight = np.concatenate([numpy_helper.to_array(self.weights[node.input[1]]) for node in products], axis=1)
        whole, columns = _quantise(weight, axis=0)
        name = products[0].output[0]
        self._constant(f"{name}.int8", whole)
        self._constant(f"{name}.columns", columns[0])
        given = [rows, f"{name}.int8", "int8.one", f"{name}.columns", zero]
        self._node(INTEGER_PRODUCT, given, [f"{name}.unscaled"], domain=DOMAIN)
        if len(products) == 1:
            self._node("Mul", [f"{name}.unscaled", scale], [name])
            return
        self._node("Mul", [f"{name}.unscaled", scale], [f"{name}.joined"])
        widths = np.array([self.weights[node.input[1]].dims[1] for node in products])
        self._constant(f"{name}.widths", widths)
        self._node("Split", [f"{name}.joined", f"{name}.widths"], [node.output[0] for node in products], axis=-1)

    def _rows(self, x: str) -> tuple[str, str, str]:
        """x [..., K] in uint8, the scale of its rows [..., 1], and its zero point."""
        width = next(self.weights[node.input[1]].dims[0] for node in self.taken[x] if self._is_product(node))
        relu = self.made.get(x)
        rectified = relu is not None and relu.op_type == "Relu" and len(self.taken[x]) == 1
        if rectified:
            assert relu is not None
            source, levels, zero = relu.input[0], 255, "int8.bottom"
            self._node("ReduceMax", [source, "int8.last"], [f"{x}.peak"])
            self._node("Relu", [f"{x}.peak"], [f"{x}.range"])
        else:
            source, levels, zero = x, 127, "int8.middle"
            self._node("Abs", [x], [f"{x}.absolute"])
            self._node("ReduceMax", [f"{x}.absolute", "int8.last"], [f"{x}.range"])
        self._constant(f"{x}.levels", np.float32(1 / levels))
        self._node("Mul", [f"{x}.range", f"{x}.levels"], [f"{x}.scale"])
        self._node("Shape", [f"{x}.scale"], [f"{x}.shape"])
        filled = numpy_helper.from_array(np.array([0 if rectified else 128], np.uint8))
        self._node("ConstantOfShape", [f"{x}.shape"], [f"{x}.zero"], value=filled)
        given = [source, f"{x}.scale", f"{x}.zero"]
        self._node("QuantizeLinear", given, [f"{x}.rows"], axis=-1, block_size=width)
        return f"{x}.rows", f"{x}.scale", zero

    def _look_up(self, node: NodeProto) -> None:
        """Replaces a look-up in a float32 table by one in int8, with a scale per row."""
        table, ids, (result,) = node.input[0], node.input[1], node.output
        rows, scales = _quantise(numpy_helper.to_array(self.weights[table]), axis=1)
        self._constant(f"{table}.rows", rows)
        self._constant(f"{table}.scales", scales)
        self._node("Gather", [f"{table}.rows", ids], [f"{result}.row"])
        self._node("Gather", [f"{table}.scales", ids], [f"{result}.scale"])
        self._node("Cast", [f"{result}.row"], [f"{result}.float"], to=TensorProto.FLOAT)
        self._node("Mul", [f"{result}.float", f"{result}.scale"], [result])

    def _node(self, operator: str, given: Sequence[str], gives: Sequence[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, given, gives, name=f"{gives[0]}.{operator}", **attributes))

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> None:
        self.added.append(numpy_helper.from_array(np.asarray(value), name))

    def _finish(self) -> None:
        graph = self.model.graph
        needed = _needed(self.nodes, (value.name for value in graph.output))
        kept = [tensor for tensor in (*graph.initializer, *self.added) if any(tensor.name in n.input for n in needed)]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(needed)
        graph.initializer.extend(kept)
        for opset in self.model.opset_import:
            if not opset.domain:
                opset.version = OPSET
        if DOMAIN not in {opset.domain for opset in self.model.opset_import}:
            self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        self.model.ir_version = max(self.model.ir_version, 10)


def _quantise(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix in int8, with one scale for the values along `axis`."""
    scales = np.maximum(np.abs(values).max(axis=axis, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def _needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The `nodes` that `outputs` depend on, in their order."""
    wanted = set(outputs)
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
