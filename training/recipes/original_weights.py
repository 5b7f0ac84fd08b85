"""Reads the published checkpoints into our networks: tensors by name, each checked, and never code."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig

from ..config import STAGES, Config, Stage
from ..errors import TrainingError
from ..networks.networks import Networks
from ..networks.text_encoder import blank_encoder

KOBERT = BertConfig(vocab_size=8002, pad_token_id=1)  # all else is BERT base

# Our modules and their names in the classifier's file; the other two files lack the first part of the name.
MODULES: dict[Stage, dict[str, str]] = {
    "audio": {
        "convolutions": "AudioModel.Extractor",
        "block": "AudioModel.AEBlock1.AE1",
        "head.recurrent": "AudioModel.gru",
        "head.linear": "AudioModel.fc",
    },
    "text": {
        "encoder": "TextModel.kobert",
        "block": "TextModel.TEBlock1.TE1",
        "head.recurrent": "TextModel.gru",
        "head.linear": "TextModel.fc",
    },
    "emotion": {"block": "MBA.MB", "head.recurrent": "LSTM", "head.linear": "fc"},
}
LAYER = {
    "attention.query": "MHA.Q_fc",
    "attention.key": "MHA.K_fc",
    "attention.value": "MHA.V_fc",
    "attention.out": "MHA.Out_fc",
    "norm1": "layerNorm1",
    "norm2": "layerNorm2",
    "fc1": "ffn.fc1",
    "fc2": "ffn.fc2",
}
UNUSED = ("TextModel.kobert.pooler.", "TextModel.kobert.embeddings.position_ids")
ALONE = {"audio": "AudioModel.", "text": "TextModel."}


class CheckpointError(TrainingError):
    """A published checkpoint that cannot be imported; the message says which file, which key and why."""


def read_checkpoints(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The state dict in `files["classifier"]`, which contains all. `audio` and `text` must equal its copies of them.

    Raises CheckpointError.
    """
    state = read_state(files["classifier"])
    for role, prefix in ALONE.items():
        if role in files:
            _check_part(read_state(files[role]), files[role], state, prefix)
    return state


def build_networks(state: Mapping[str, Tensor], config: Config, encoder: BertConfig = KOBERT) -> Networks:
    """The networks of `config` with the weights of the classifier's state dict, in evaluation mode.

    Raises CheckpointError, naming the key.
    """
    networks = Networks(config, blank_encoder(encoder))
    known: set[str] = set()
    for stage in STAGES:
        own = networks.stage(stage).state_dict()
        keys = {name: published_key(stage, name) for name in own}
        known |= set(keys.values())
        weights = {name: _tensor(state, keys[name], value.shape) for name, value in own.items()}
        networks.stage(stage).load_state_dict(weights)
    for key in state:
        if key not in known and not key.startswith(UNUSED):
            raise CheckpointError(f"The classifier's file has {key}, which the published classifier does not have.")
    return networks.eval()


def published_key(stage: Stage, name: str) -> str:
    """The name in the classifier's file of the parameter `name` of our network."""
    ours, theirs = next((ours, theirs) for ours, theirs in MODULES[stage].items() if name.startswith(f"{ours}."))
    rest = name.removeprefix(ours)
    if ours == "block":
        for word, published_word in LAYER.items():
            rest = rest.replace(f".{word}.", f".{published_word}.")
    return theirs + rest


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name; no code in the file is run. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not there.")
    # The directory of a zip file is at its end.
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is no PyTorch checkpoint, or an incomplete one; download it again.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged in {damaged}; download it again.")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} contains more than tensors, and code in a checkpoint is never run.") from error
    except (EOFError, OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no PyTorch checkpoint, or a damaged one; download it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is no state dict: it must contain tensors by name, and nothing else.")
    return {str(key): value for key, value in state.items()}


def _tensor(state: Mapping[str, Tensor], key: str, shape: torch.Size) -> Tensor:
    """One parameter, in float32."""
    if key not in state:
        raise CheckpointError(f"The classifier's file lacks {key}; it is not the published classifier, or incomplete.")
    value = state[key]
    if value.shape != shape or not value.is_floating_point():
        raise CheckpointError(
            f"The classifier's {key} is {list(value.shape)} {value.dtype}, not {list(shape)} float32."
        )
    if not value.isfinite().all():
        raise CheckpointError(f"The classifier's {key} has values that are not finite.")
    return value.float()


def _check_part(part: Mapping[str, Tensor], path: Path, whole: Mapping[str, Tensor], prefix: str) -> None:
    """Raises CheckpointError unless `part` equals the tensors of `whole` under `prefix`, frozen in its training."""
    copy = {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}
    for key in sorted(copy.keys() | part.keys()):
        if f"{prefix}{key}".startswith(UNUSED):
            continue
        if key not in part:
            raise CheckpointError(f"{path} lacks {key}, which the classifier's copy of it has.")
        if key not in copy or part[key].dtype != copy[key].dtype or not torch.equal(part[key], copy[key]):
            raise CheckpointError(
                f"{path}: {key} differs from the classifier's copy. Without this file the import uses that copy."
            )
