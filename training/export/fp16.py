"""The graphs in float16, for a GPU: half the memory, and tensor cores. Their inputs and outputs stay float32.

onnxruntime's own converter does not serve: it rounds to float16 all that passes between two nodes kept in float32, the
waveform and its spectrum included. `training.export.shared_weights` keeps the weights out of the graphs.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from app.store.manifest import GraphName

FRONT_END = "/features/"  # scope of the audio front-end: the power of speech spans more decades than float16 holds
RECURRENT = ("GRU", "LSTM")  # their error would accumulate over the frames, and the CPU has no kernel for them


def convert_fp16(
    fp32: dict[GraphName, Path], folder: Path, beyond: Mapping[GraphName, Collection[str]] = MappingProxyType({})
) -> dict[GraphName, Path]:
    """Writes the graphs in float16, except for front-end and recurrent layers, and returns their paths.

    `beyond` names values of each graph that float16 cannot hold: the nodes that make or read them stay in float32, too.
    """
    paths: dict[GraphName, Path] = {}
    for name, path in fp32.items():
        paths[name] = folder / f"{name}.fp16.onnx"
        onnx.save(_Conversion(onnx.load(path), beyond.get(name, ())).model, paths[name])
    return paths


def rounded_values(model: ModelProto) -> list[str]:
    """The values of a float32 `model` that `convert_fp16` holds in float16, by their names in it."""
    copy = ModelProto()
    copy.CopyFrom(model)
    conversion = _Conversion(copy)
    held = {name for name, kind in conversion.type.items() if kind == TensorProto.FLOAT16}
    held |= {name for name, kind in conversion.cast if kind == TensorProto.FLOAT16}
    made = [name for node in model.graph.node for name in node.output]
    return [name for name in made if name in held or f"{name}.inner" in held]


class _Conversion:
    """`model` in float16, except for the nodes that stay in float32, with a cast wherever the two meet."""

    def __init__(self, model: ModelProto, beyond: Collection[str] = ()) -> None:
        self.model = model
        self.beyond = frozenset(beyond)
        graph = model.graph
        inferred = infer_shapes(model, strict_mode=True).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
        self.floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.type = dict.fromkeys((value.name for value in graph.input), TensorProto.FLOAT)  # of a float value by now
        self.cast: dict[tuple[str, int], str] = {}
        self.nodes: list[NodeProto] = []
        self.used = [tensor for tensor in graph.initializer if tensor.name not in self.weights]

        results = {value.name: f"{value.name}.inner" for value in graph.output if value.name in self.floats}
        self.floats.update(results.values())
        for node in graph.node:
            _rename(node, results)
            self._convert(node)
        for name, inner in results.items():
            self.nodes.append(helper.make_node("Cast", [inner], [name], to=TensorProto.FLOAT))
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.used)

    def _convert(self, node: NodeProto) -> None:
        values = {name.removesuffix(".inner") for name in (*node.input, *node.output)}
        kept = node.name.startswith(FRONT_END) or node.op_type in RECURRENT or not values.isdisjoint(self.beyond)
        wanted = TensorProto.FLOAT if kept else TensorProto.FLOAT16
        node.input[:] = [self._as(name, wanted) for name in node.input]
        self.type.update(dict.fromkeys((name for name in node.output if name in self.floats), wanted))
        for attribute in node.attribute if not kept else ():
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))
        self.nodes.append(node)

    def _as(self, name: str, wanted: int) -> str:
        """The value `name` in the `wanted` type: itself where it is not a float or has that type."""
        if name not in self.weights and (name not in self.floats or self.type[name] == wanted):
            return name
        if (name, wanted) not in self.cast:
            other = name if wanted == TensorProto.FLOAT and name in self.weights else f"{name}.{wanted}"
            if name in self.weights:
                tensor = self.weights[name]
                self.used.append(tensor if other == name else _half(tensor, other))
            else:
                self.nodes.append(helper.make_node("Cast", [name], [other], to=wanted))
            self.cast[name, wanted] = other
        return self.cast[name, wanted]


def _rename(node: NodeProto, names: dict[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]


def _half(tensor: TensorProto, name: str) -> TensorProto:
    with np.errstate(over="ignore"):  # what is past float16's range becomes infinite, and parity refuses it
        values = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(values, name)
