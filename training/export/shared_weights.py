"""Makes float16 graphs read their weights from the file to fine-tune from, so that a version holds them once.

ONNX lets a tensor lie in another file, at an offset; safetensors stores tensors as they are in memory.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

LEAST = 4096  # bytes; for a smaller tensor the reference costs as much as it saves


@dataclass(frozen=True)
class _Stored:
    """A tensor of the weights file: the offset of its bytes, and its values."""

    offset: int
    values: NDArray[np.float16]


def share_weights(graphs: Iterable[Path], weights: Path) -> None:
    """Rewrites the float16 `graphs` to read their tensors from the file `weights`, in the same folder.

    Tensors that the file lacks, and small ones, stay in the graph.
    """
    stored: dict[tuple[tuple[int, ...], bytes], tuple[_Stored, bool]] = {}
    for tensor in _tensors(weights):
        stored[_key(tensor.values)] = tensor, False
        if tensor.values.ndim == 2:  # torch's Linear is [out, in]; a matrix product in ONNX takes [in, out]
            stored.setdefault(_key(tensor.values.T), (tensor, True))
    for path in graphs:
        model = onnx.load(path)
        transposes: list[NodeProto] = []
        for weight in model.graph.initializer:
            if weight.data_type != TensorProto.FLOAT16 or 2 * math.prod(weight.dims) < LEAST:
                continue
            found, transposed = stored.get(_key(numpy_helper.to_array(weight)), (None, False))
            if found is None:
                continue
            if transposed:  # onnxruntime folds it while it loads
                source = f"{weight.name}.stored"
                transposes.append(helper.make_node("Transpose", [source], [weight.name], perm=[1, 0]))
                weight.name = source
            weight.dims[:] = found.values.shape
            set_external_data(weight, weights.name, found.offset, found.values.nbytes)
            weight.ClearField("raw_data")
        nodes = [*transposes, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.save(model, path)


def _key(values: NDArray[np.float16]) -> tuple[tuple[int, ...], bytes]:
    return values.shape, values.tobytes()


def _tensors(path: Path) -> Iterator[_Stored]:
    """The float16 tensors of a safetensors file: eight bytes with the length of the header, the header, the data."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    for tensor in header.values():
        begin, end = (8 + size + offset for offset in tensor["data_offsets"])
        if tensor["dtype"] == "F16" and end - begin >= LEAST:
            yield _Stored(begin, np.frombuffer(data[begin:end], np.float16).reshape(tensor["shape"]))
