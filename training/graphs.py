"""The three networks as ONNX graphs: names, dynamic axes, exporter; and their int8 form for the CPU.

The TorchScript exporter: the newer one does not take packed GRUs and LSTMs. What the graphs promise is checked by
`training.parity`.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from app.manifest import GraphName
from training.networks import Networks

OPSET = 18  # the newest at which the attention of the encoder decomposes into products that every provider has
INT8_BLOCK = 32  # weights that share a scale
TABLE_BYTES = 1_000_000  # an embedding table of more in float32 is quantised; the others are not worth it

SIGNATURES: dict[GraphName, tuple[dict[str, dict[int, str]], dict[str, dict[int, str]]]] = {
    "audio_arousal": (
        {"waveform": {0: "batch", 1: "samples"}, "waveform_length": {0: "batch"}},
        {
            "arousal": {0: "batch"},
            "audio_embedding": {0: "batch", 1: "frames"},
            "audio_mask": {0: "batch", 1: "frames"},
        },
    ),
    "text_valence": (
        {"input_ids": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}},
        {"valence": {0: "batch"}, "text_embedding": {0: "batch", 1: "tokens"}},
    ),
    "emotion": (
        {
            "audio_embedding": {0: "batch", 1: "frames"},
            "audio_mask": {0: "batch", 1: "frames"},
            "text_embedding": {0: "batch", 1: "tokens"},
            "text_mask": {0: "batch", 1: "tokens"},
        },
        {"logits": {0: "batch"}},
    ),
}


def export_fp32(networks: Networks, folder: Path) -> dict[GraphName, Path]:
    """Writes the three graphs in float32 and returns where."""
    networks.eval().cpu()
    waveform, length = torch.randn(2, 8000) * 0.1, torch.tensor([8000, 6000])
    ids, read = torch.full((2, 5), 2), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        _, audio_embedding, audio_mask = networks.audio(waveform, length)
        _, text_embedding = networks.text(ids, read)
    both = (audio_embedding, audio_mask, text_embedding, read.bool())
    return {
        "audio_arousal": export_graph(networks.audio, "audio_arousal", (waveform, length), folder),
        "text_valence": export_graph(networks.text, "text_valence", (ids, read), folder),
        "emotion": export_graph(networks.emotion, "emotion", both, folder),
    }


def export_graph(network: nn.Module, name: GraphName, example: tuple[Tensor, ...], folder: Path) -> Path:
    """Writes one graph in float32, traced on `example`, and returns where."""
    path = folder / f"{name}.fp32.onnx"
    inputs, outputs = SIGNATURES[name]
    with warnings.catch_warnings():
        # Tracing warns of every shape it might freeze, and the exporter of its age; the parity check decides.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={**inputs, **outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    return path


def quantise_int8(fp32: dict[GraphName, Path], folder: Path) -> dict[GraphName, Path]:
    """Writes the graphs with the weights of their matrix products and their embeddings in 8 bits, and returns where.

    Each row of an activation has scales of its own (`MatMulNBits`, accuracy level 4: int8 arithmetic). The usual
    dynamic quantisation takes one scale over the whole tensor, and an answer would change with its batch.
    """
    # Importing it turns logging on for the whole process, with a line for every node.
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger().setLevel(logging.WARNING)
    paths: dict[GraphName, Path] = {}
    for name, path in fp32.items():
        quantiser = MatMulNBitsQuantizer(
            onnx.load(path), bits=8, block_size=INT8_BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantiser.process()
        _quantise_tables(quantiser.model.model.graph)
        paths[name] = folder / f"{name}.int8.onnx"
        onnx.save(quantiser.model.model, paths[name])
    return paths


def _quantise_tables(graph: GraphProto) -> None:
    """Replaces large embedding tables by rows of int8 with a scale a row; the quantiser knows only 4 bits for them."""
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and 4 * np.prod(tensor.dims) > TABLE_BYTES
    }
    nodes: list[NodeProto] = []
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None:
            nodes.append(node)
            continue
        name, ids, (result,) = table.name, node.input[1], node.output
        values = numpy_helper.to_array(table)
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
        rows = np.rint(values / scales).astype(np.int8)
        graph.initializer.remove(table)
        graph.initializer.append(numpy_helper.from_array(rows, f"{name}.rows"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scales"))
        nodes += [
            helper.make_node("Gather", [f"{name}.rows", ids], [f"{result}.row"]),
            helper.make_node("Gather", [f"{name}.scales", ids], [f"{result}.scale"]),
            helper.make_node("Cast", [f"{result}.row"], [f"{result}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{result}.float", f"{result}.scale"], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
