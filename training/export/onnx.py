"""The three networks as ONNX graphs, with the names and axes that `app.engine.session` lists.

It is the TorchScript exporter: the newer one does not take packed GRUs and LSTMs. `training.export.parity` checks the
graphs.
"""

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from app.engine.session import FIXED_AXES, SIGNATURES
from app.store.manifest import GraphName

from ..networks.attention import ATTENTION, fused_encoders
from ..networks.networks import Networks

OPSET = 18  # the one of the parity checks; the exporter writes up to 20


def export_fp32(networks: Networks, folder: Path) -> dict[GraphName, Path]:
    """Writes the three graphs in float32 and returns their paths."""
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
    """Writes one graph in float32, traced on `example`, and returns its path."""
    path = folder / f"{name}.fp32.onnx"
    inputs, outputs = SIGNATURES[name]
    dynamic = {
        value: {number: axis for number, axis in enumerate(axes) if axis not in FIXED_AXES}
        for value, axes in {**inputs, **outputs}.items()
    }
    with warnings.catch_warnings(), fused_encoders(network):
        # Tracing warns of every shape it might freeze, and the exporter of its age; the parity check is what counts.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    _join_attention(path)
    return path


def _join_attention(path: Path) -> None:
    """Removes the split into heads before the attention operator and the join after it.

    `transformers` passes heads, [batch, heads, time, width / heads], and the operator takes [batch, time, width]: the
    nodes between convert there and back. onnxruntime drops the nodes that are no longer used.
    """
    model = onnx.load(path)
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        for index, value in enumerate(node.input):
            origin = value
            while origin in made and made[origin].op_type in ("Reshape", "Transpose"):
                origin = made[origin].input[0]
            behind = origin in made and made[origin].op_type == ATTENTION and node.op_type == "MatMul"
            if behind or (node.op_type == ATTENTION and index < 3):
                node.input[index] = origin
    onnx.save(model, path)
