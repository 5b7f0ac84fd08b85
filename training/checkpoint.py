"""All three networks in one safetensors file, its header their configuration: what a version is fine-tuned from.

Half precision: it halves the file, and training goes on from it in full.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from training.config import Config
from training.encoder import blank_encoder
from training.networks import Networks, RunError

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(path: Path, networks: Networks) -> None:
    """Writes the weights in float16 and the configuration of the networks and of their text encoder."""
    weights = {name: value.half().contiguous() for name, value in networks.state_dict().items()}
    encoder = networks.text.encoder.config.to_json_string()
    save_file(weights, path, metadata={"config": networks.config.model_dump_json(), "encoder": encoder})


def load_checkpoint(version: Path) -> Networks:
    """The networks of a version's folder, in float32. Raises RunError where it carries none.

    Those of an imported original become masked ones: what is trained here sees no padding, and the weights fit both.
    """
    path = version / CHECKPOINT_FILE
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            weights = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{version} cannot be trained from: it has no {CHECKPOINT_FILE} that can be read. `maeum-train export "
            "--checkpoint` writes one."
        ) from error
    encoder = json.loads(metadata["encoder"])
    networks = Networks(
        Config.model_validate_json(metadata["config"]).model_copy(update={"semantics": "masked"}),
        blank_encoder(AutoConfig.for_model(encoder.pop("model_type"), **encoder)),
    )
    networks.load_state_dict(weights)
    return networks
