"""The pretrained text encoder: any BERT-like model that `transformers` loads, by hub name or local folder.

Files on this machine are used without asking the hub, which is asked once for the rest. Its tokenizer: `.tokenizer`.
"""

import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import torch
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from ..errors import TrainingError

TOKENIZER_FILE = "tokenizer.json"
HUB_TIMEOUT_S = 10

# The parts of an encoder, each as patterns; one match is enough.
TOKENIZER = (TOKENIZER_FILE, "*.model")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


class EncoderError(TrainingError):
    """An encoder or its tokenizer that cannot be loaded; the message says which, and what to do."""


def find_encoder(name: str, parts: tuple[tuple[str, ...], ...] = (TOKENIZER, WEIGHTS)) -> Path:
    """The local folder `name`, or the cache folder of a hub model, filled from the hub where one of `parts` is missing.

    Raises EncoderError.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        folder = _cached(name)
        if folder is not None and all(_has(folder, part) for part in parts):
            return folder
        if constants.HF_HUB_OFFLINE:
            raise EncoderError(f"The encoder {name} is not on this machine, and HF_HUB_OFFLINE rules out the hub.")
        _check_hub()
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.model"]))
        for pattern in WEIGHTS if WEIGHTS in parts else ():
            if not _has(folder, WEIGHTS):
                snapshot_download(name, allow_patterns=[pattern])
    except ValueError as error:
        raise EncoderError(f"The encoder {name} is neither a folder nor a valid name on the hub.") from error
    except OSError as error:
        raise _failed(name, error) from error
    return folder


def _cached(name: str) -> Path | None:
    """The cache folder of a hub model; None if there is none."""
    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _has(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _check_hub() -> None:
    """Raises OSError at once if the hub is unreachable: its own client would retry, or wait, for minutes."""
    try:
        urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT_S).close()
    except HTTPError:
        return  # reachable; the client handles the answer
    except URLError as error:
        # The client has certificates of its own.
        if not isinstance(error.reason, ssl.SSLError):
            raise


def load_encoder(name: str, layers: int | None = None, dropout: float | None = None) -> PreTrainedModel:
    """The encoder with its weights, in float32: its first `layers` (all if None), with `dropout` (its own if None).

    Raises EncoderError.
    """
    folder = find_encoder(name)
    config = load_encoder_config(folder)
    if layers is not None:
        config.num_hidden_layers = min(layers, config.num_hidden_layers)
    if dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    try:
        # Attention is written out in training; `training.networks.attention` replaces it while a graph is exported.
        model = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            add_pooling_layer=False,
            local_files_only=True,
        )
    except (OSError, ValueError) as error:
        raise _failed(name, error) from error
    assert isinstance(model, PreTrainedModel)
    return model


def blank_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of that shape, its weights not loaded yet."""
    model = AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    return model


def load_encoder_config(folder: Path) -> PreTrainedConfig:
    """The shape of an encoder, from a folder with its `config.json`. Raises EncoderError."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _failed(str(folder), error) from error
    assert isinstance(config, PreTrainedConfig)
    return config


def _failed(name: str, error: Exception) -> EncoderError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return EncoderError(
        f"The text encoder {name} cannot be loaded: {reason}. Give a folder or another name with --text-encoder."
    )
