"""Counts a graph's floating-point operations from what onnxruntime ran. A multiplication and an addition are two.

It counts products (matrix products, convolutions, recurrent layers and attention), from the shapes in onnxruntime's
profile, and not element-wise work, norms or softmax. An unknown product is an error, so that none is left out silently.

The graph runs with its constants folded but without onnxruntime's other optimisations, because some layouts pad
channels, which is not useful work. 8-bit operations count as the float operations that they replace.
"""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

Feeds = dict[str, NDArray[Any]]
Shape = Sequence[int]
Shapes = Sequence[Shape]  # of a node's inputs or outputs

MOST_EVENTS = 1_000_000  # onnxruntime drops any more


class UnknownProduct(Exception):
    """A node multiplies in a way that this file cannot count; the message names it."""


def flops(graph: Path, *feeds: Feeds) -> int:
    """The operations of running `graph` once on each of `feeds`. Raises UnknownProduct."""
    return sum(
        _of_node(event["args"]["op_name"], _shapes(event, "input"), _shapes(event, "output"))
        for event in _profile(graph, feeds)
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )


def _profile(graph: Path, feeds: Sequence[Feeds]) -> list[dict[str, Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_prepacking", "1")  # a packed weight has no shape in the profile
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for given in feeds:
            session.run(None, given)
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    if len(events) >= MOST_EVENTS:
        raise ValueError(f"{graph} on {len(feeds)} inputs overflows the profile; pass fewer.")
    return events


def _shapes(event: dict[str, Any], side: str) -> list[list[int]]:
    return [shape for typed in event["args"][f"{side}_type_shape"] for shape in typed.values()]


def _of_node(op: str, inputs: Shapes, outputs: Shapes) -> int:
    if count := _PRODUCTS.get(op):
        return count(op, inputs, outputs)
    if _LOOKS_LIKE_ONE.search(op):
        raise UnknownProduct(f"{op} of {inputs} to {outputs} is a product that is not counted yet.")
    return 0


def _matrix_product(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """[..., M, K] x [K, N], whatever the format of the weight: K is the activation's last dimension."""
    return 2 * prod(outputs[0]) * inputs[0][-1]


def _gemm(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """Either operand may be transposed: K of [M, K] or [K, M] is its size / M."""
    rows, columns = outputs[0]
    return 2 * columns * prod(inputs[0]) if rows else 0


def _fused_product(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """A matrix product whose first operand may have its last two dimensions swapped."""
    if len(inputs[0]) < 2 or len(inputs[1]) < 2:
        return _matrix_product(op, inputs, outputs)
    rows = outputs[0][-2]
    return 2 * prod(outputs[0]) * prod(inputs[0][-2:]) // rows if rows else 0


def _convolution(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """Weight [out, in / groups, kernel...]: each output value takes one filter."""
    return 2 * prod(outputs[0]) * prod(inputs[1][1:])


def _recurrent(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """x [time, batch, width]; weights of all gates and directions, on the input and on the state."""
    x, weight, recurrence = inputs[:3]
    return 2 * prod(x[:-1]) * (prod(weight) + prod(recurrence))


def _attention(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """Query, key and value as inputs, [batch, time, width] or [batch, heads, time, width of a head]."""
    query, key = inputs[:2]
    if len(outputs) > 1 or len(query) not in (3, 4) or len(key) not in (3, 4):
        raise UnknownProduct(f"{op} of {inputs} packs its operands, or keeps a past, which is not counted yet.")
    return 2 * key[-2] * (prod(query) + prod(outputs[0]))


def _attention_from_input(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """`Attention` names two operators. onnxruntime's makes query, key and value of one input by a matrix."""
    x, weight = inputs[:2]
    if len(weight) != 2:
        return _attention(op, inputs, outputs)
    if len(outputs) > 1 or weight[1] != 3 * outputs[0][-1]:
        raise UnknownProduct(f"{op} of {inputs} has operands of unequal widths, or keeps a past: not counted yet.")
    return 2 * prod(x) * weight[1] + 4 * prod(outputs[0]) * x[1]


_PRODUCTS: dict[str, Callable[[str, Shapes, Shapes], int]] = {
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "MatMulIntegerToFloat": _matrix_product,
    "DynamicQuantizeMatMul": _matrix_product,
    "MatMulNBits": _matrix_product,
    "FusedMatMul": _fused_product,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "Conv": _convolution,
    "FusedConv": _convolution,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MultiHeadAttention": _attention,
    "Attention": _attention_from_input,
    "QAttention": _attention_from_input,
}
_LOOKS_LIKE_ONE = re.compile("MatMul|Gemm|Conv|Attention|GRU|LSTM|RNN|Einsum|DFT|STFT|MoE")
