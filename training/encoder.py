"""The pretrained text encoder: any BERT-like model that `transformers` loads, by hub name or local folder."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

TOKENIZER_FILE = "tokenizer.json"


class EncoderError(Exception):
    """An encoder or its tokenizer that cannot be had; the message says which, and what to do."""


def load_encoder(name: str) -> PreTrainedModel:
    """The encoder with its weights, in float32. Raises EncoderError."""
    try:
        # Written-out attention exports into plain matrix products, which every onnxruntime provider has.
        model = AutoModel.from_pretrained(
            name, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False
        )
    except (OSError, ValueError) as error:
        raise EncoderError(_no_encoder(name)) from error
    assert isinstance(model, PreTrainedModel)
    return model


def blank_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of that shape whose weights are still to be loaded."""
    model = AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    return model


def load_encoder_config(folder: Path) -> PreTrainedConfig:
    """The shape of an encoder, from a folder with its `config.json`. Raises EncoderError."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise EncoderError(_no_encoder(str(folder))) from error
    assert isinstance(config, PreTrainedConfig)
    return config


def tokenizer_file(name: str) -> Path:
    """The encoder's `tokenizer.json`, which is all that serving needs of it. Raises EncoderError."""
    try:
        path = cached_file(name, TOKENIZER_FILE)
    except OSError as error:
        raise EncoderError(f"The text encoder {name} has no {TOKENIZER_FILE} that can be read.") from error
    assert path is not None  # cached_file raises where it finds nothing
    return Path(path)


def _no_encoder(name: str) -> str:
    return (
        f"The text encoder {name} cannot be loaded: there is no such folder with a model in it, and the hub has none "
        "of this name or cannot be reached. Give another one with --text-encoder."
    )
