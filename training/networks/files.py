"""The networks on disk: one file per stage in a run's folder, and the one file that a version is fine-tuned from.

The latter is float16, for half the size; training continues from it in float32.
"""

import json
import shutil
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from app.engine.detector import SpeechDetector
from app.store.manifest import Manifest
from app.store.versions import MANIFEST_FILE

from ..config import Config, Stage
from ..errors import TrainingError
from .networks import Networks
from .text_encoder import blank_encoder, load_encoder_config

CONFIG_FILE = "config.json"
ENCODER_FOLDER = "encoder"  # the text encoder's own config.json
RETIRED = ("borrow_text",)  # settings of the emotion stage in the files of versions up to 0.2.1
DETECTOR_FILE = "silero_vad.onnx"
DETECTOR_LICENSE = "silero_vad.LICENSE.md"
WEIGHTS_FILE = "weights.safetensors"  # of a new version; an older one calls it checkpoint.safetensors


class RunError(TrainingError):
    """A run folder that lacks something; the message says what, and which command makes it."""


def save_config(run: Path, networks: Networks) -> None:
    """Writes the configuration from which the networks are built again."""
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG_FILE).write_text(networks.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    networks.text.encoder.config.save_pretrained(run / ENCODER_FOLDER)


def save_detector(run: Path, detector: Path) -> None:
    """Copies the speech detector and its licence into the run. Raises RunError."""
    license_ = detector.with_suffix(".LICENSE.md")
    try:
        shutil.copyfile(detector, run / DETECTOR_FILE)
        shutil.copyfile(license_, run / DETECTOR_LICENSE)
    except OSError as error:
        raise RunError(
            f"The speech detector {detector} or its licence {license_.name} cannot be read: {error.strerror}. Both lie "
            "in the folders of the starter; set audio.speech.detector, or audio.speech= to train on clips as they are."
        ) from error


def load_detector(run: Path) -> SpeechDetector | None:
    """The speech detector of a run; None where it takes clips as they are."""
    path = run / DETECTOR_FILE
    return SpeechDetector(path) if path.is_file() else None


def stage_file(run: Path, stage: Stage) -> Path:
    """The file with the weights of a stage."""
    return run / f"{stage}.safetensors"


def save_stage(run: Path, networks: Networks, stage: Stage) -> None:
    """Writes the weights of one stage. The file appears whole or not at all."""
    path = stage_file(run, stage)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in networks.stage(stage).state_dict().items()}, partial)
    partial.replace(path)


def load_stage(run: Path, networks: Networks, stage: Stage) -> None:
    """Reads the weights of one stage. Raises RunError."""
    path = stage_file(run, stage)
    if not path.is_file():
        raise RunError(f"{path} is not there; `maeum-train train {stage} --output {run}` makes it.")
    networks.stage(stage).load_state_dict(load_file(path))


def load_networks(run: Path) -> Networks:
    """The three trained networks of a run, in evaluation mode. Raises RunError and EncoderError."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise RunError(f"{run} is not a run: it has no {CONFIG_FILE}. `maeum-train train` makes one.")
    config = read_config(path.read_text(encoding="utf-8"))
    networks = Networks(config, blank_encoder(load_encoder_config(run / ENCODER_FOLDER)))
    for stage in ("audio", "text", "emotion"):
        load_stage(run, networks, stage)
    return networks.eval()


def save_weights(path: Path, networks: Networks) -> None:
    """Writes the weights in float16 and the configuration of the networks and of their text encoder."""
    weights = {name: value.half().contiguous() for name, value in networks.state_dict().items()}
    encoder = networks.text.encoder.config.to_json_string()
    save_file(weights, path, metadata={"config": networks.config.model_dump_json(), "encoder": encoder})


def load_weights(version: Path) -> Networks:
    """The networks of a version's folder, in float32. Raises RunError where it has no weights to fine-tune from.

    Those of an imported original become masked ones: training here never sees padding, and the weights fit both.
    """
    path = weights_file(version)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            weights = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{version} cannot be fine-tuned: it has no readable {path.name}. "
            "`maeum-train export --weights` writes one."
        ) from error
    encoder = json.loads(metadata["encoder"])
    networks = Networks(
        read_config(metadata["config"]).model_copy(update={"semantics": "masked"}),
        blank_encoder(AutoConfig.for_model(encoder.pop("model_type"), **encoder)),
    )
    networks.load_state_dict(weights)
    return networks


def weights_file(version: Path) -> Path:
    """The file that the version's manifest names."""
    try:
        stored = Manifest.model_validate_json((version / MANIFEST_FILE).read_bytes()).weights
    except (OSError, ValidationError):
        stored = None
    return version / (stored.file if stored else WEIGHTS_FILE)


def read_config(text: str) -> Config:
    """The configuration in a file's `text`, without retired settings."""
    values = json.loads(text)
    for name in RETIRED:
        values["train"]["emotion"].pop(name, None)
    return Config.model_validate(values)
