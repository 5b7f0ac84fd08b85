"""Attention as one operator of an exported graph: `MultiHeadAttention` of onnxruntime's own set, in place of ten.

Training uses the written-out form in torch; only the export puts the operator in its place. Both providers have it.
`training.export.parity` checks that it computes the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper
from transformers import AttentionInterface, PreTrainedConfig

from .pooling import MASKED

DOMAIN = "com.microsoft"  # of the operators that onnxruntime adds to the standard
ATTENTION = "MultiHeadAttention"

_NAME = "maeum_fused"  # of this attention in transformers


def attend(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, heads: int, scale: float, dropout: float = 0.0
) -> Tensor:
    """Multi-head attention: query, key, value [batch, time, width] to [batch, time, width].

    key_mask bool [batch, time] is true at the positions that may be attended to. `dropout` is applied to the weights;
    it is for training only.
    """
    compute: Callable[..., Tensor] = _Operator.apply if torch.onnx.is_in_onnx_export() else _written_out
    return compute(query, key, value, key_mask, heads, scale, *([dropout] if dropout else []))


@contextmanager
def fused_encoders(network: nn.Module) -> Iterator[None]:
    """Inside, the modules that `network` has from transformers use `attend` too."""
    configs = {id(part.config): part.config for part in network.modules() if hasattr(part, "config")}
    pretrained = [config for config in configs.values() if isinstance(config, PreTrainedConfig)]
    before = [config._attn_implementation for config in pretrained]
    for config in pretrained:
        config._attn_implementation = _NAME
    try:
        yield
    finally:
        for config, implementation in zip(pretrained, before, strict=True):
            config._attn_implementation = implementation


def _written_out(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, heads: int, scale: float, dropout: float = 0.0
) -> Tensor:
    query, key, value = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    scores = (query * scale) @ key.transpose(2, 3)
    scores = scores + (~key_mask)[:, None, None, :].to(scores.dtype) * MASKED
    weights = nn.functional.dropout(scores.softmax(dim=3), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2).flatten(2)


class _Operator(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, *given: Any) -> Tensor:
        return _written_out(*given)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, key_mask: Any, heads: int, scale: float) -> Any:
        none = symbolic_helper._optional_input_placeholder_tensor(g)
        read = g.op("Cast", key_mask, to_i=onnx.TensorProto.INT32)
        mixed = g.op(f"{DOMAIN}::{ATTENTION}", query, key, value, none, read, num_heads_i=heads, scale_f=scale)
        return mixed.setType(query.type())


def _of_transformers(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`attend` as transformers calls it, with an additive mask [batch, 1, 1, time]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    heads = int(query.shape[1])
    query, key, value = (part.transpose(1, 2).flatten(2) for part in (query, key, value))
    mixed = attend(query, key, value, attention_mask[:, 0, 0, :] > MASKED / 2, heads, scale)
    return mixed.unflatten(2, (heads, -1)), None


AttentionInterface.register(_NAME, _of_transformers)
