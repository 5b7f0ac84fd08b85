"""A run: a folder that holds one training's configuration, tokenizer, weights and log."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..config import STAGES, Config, ConfigError, Stage
from ..data.utterance import Utterance
from ..networks.files import (
    CONFIG_FILE,
    DETECTOR_FILE,
    load_stage,
    load_weights,
    read_config,
    save_config,
    save_detector,
    save_stage,
    stage_file,
)
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE, load_encoder
from ..networks.tokenizer import write_tokenizer
from ..networks.whisper import WhisperArousal, load_pretrained
from . import lineage
from .train import train_stage

SHARED = ("audio.", "text.", "emotion.", "semantics", "train.seed", "train.augment.")
"""Settings, by the beginning of their keys, in which the stages of a run must agree."""


def train(
    stages: Sequence[Stage],
    config: Config,
    utterances: Sequence[Utterance],
    run: Path,
    accelerator: Accelerator,
    resume: bool = False,
    init_from: Path | None = None,
    text_frozen: bool | None = None,
) -> dict[Stage, float]:
    """Trains `stages` one after the other and returns the best validation score of each.

    Stages that are not among `stages` stay in the run as they were trained before. `resume` continues a run that was
    interrupted. With `init_from`, a version's folder, training starts from its weights and the networks have its size:
    only `config.train` counts then, and `text_frozen` if given. Raises ConfigError if the stages of the run would not
    fit together, if `resume` would mix two configurations, and for `semantics = original`; RunError, and the errors of
    `training.learning.train.train_stage`.
    """
    if config.semantics == "original":
        raise ConfigError("semantics=original computes as the published checkpoints did; it cannot be trained.")
    networks = _networks(config, init_from, text_frozen)
    if isinstance(networks.audio, WhisperArousal) and config.train.augment.mode != "none" and {*stages} - {"text"}:
        raise ConfigError(
            "train.augment masks bands of the published front-end, and these networks have a Whisper encoder: set "
            "train.augment.mode=none."
        )
    networks.config = joined_config(networks.config, run, stages, resume)
    kept = [stage for stage in STAGES if stage not in stages and stage_file(run, stage).is_file()]
    origin = lineage.origin_of(run, init_from, stages)
    accelerator.wait_for_everyone()  # every process has read the run's folder
    if accelerator.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        lineage.begin(run, origin)
        save_config(run, networks)
        if init_from is None:
            transcripts = [utterance.transcript for utterance in utterances if utterance.transcript]
            write_tokenizer(config.text.encoder, run, networks.text.encoder.config.vocab_size, transcripts)
            if config.audio.speech is not None:
                save_detector(run, Path(config.audio.speech.detector))
        else:
            shutil.copyfile(init_from / TOKENIZER_FILE, run / TOKENIZER_FILE)
            if networks.config.audio.speech is not None:
                save_detector(run, init_from / DETECTOR_FILE)
    accelerator.wait_for_everyone()
    needed = STAGES[:2] if "emotion" in stages and init_from is None else ()
    for stage in STAGES:
        if stage in kept or (stage in needed and stage not in stages):
            load_stage(run, networks, stage)
    fresh = init_from is None
    if accelerator.is_main_process and not fresh:
        for stage in STAGES:
            if stage not in kept and stage not in stages:
                save_stage(run, networks, stage)  # as the version has it
    scores = {}
    for stage in stages:
        if stage == "emotion" and accelerator.is_main_process:
            lineage.begin_classifier(run)
        accelerator.wait_for_everyone()
        scores[stage] = train_stage(stage, networks, utterances, run, accelerator, resume, fresh)
    return scores


def new_networks(config: Config) -> Networks:
    """Untrained networks on their pretrained encoders. Raises EncoderError."""
    networks = Networks(config, load_encoder(config.text.encoder, config.text.layers, config.text.dropout))
    if isinstance(networks.audio, WhisperArousal) and config.audio.encoder:
        load_pretrained(networks.audio.encoder, config.audio.encoder)
    return networks


def _networks(config: Config, init_from: Path | None, text_frozen: bool | None) -> Networks:
    if init_from is None:
        return new_networks(config)
    networks = load_weights(init_from)
    text = networks.config.text
    if text_frozen is not None:
        text = text.model_copy(update={"frozen": text_frozen})
    networks.config = networks.config.model_copy(update={"train": config.train, "preset": config.preset, "text": text})
    return networks


def joined_config(config: Config, run: Path, stages: Sequence[Stage], resume: bool) -> Config:
    """`config` with the settings of the stages that were trained in `run` before and are not now.

    Raises ConfigError where those stages had other settings of what the stages SHARED, and with `resume` where anything
    differs.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        return config
    before = read_config(path.read_text(encoding="utf-8"))
    others = [stage for stage in STAGES if stage not in stages and stage_file(run, stage).is_file()]
    kept: dict[str, Any] = {stage: before.train.stage(stage) for stage in others}
    joined = config.model_copy(update={"train": config.train.model_copy(update=kept)})
    if resume and before != joined:
        begun = ", ".join(_differences(before, joined))
        raise ConfigError(f"{run} was begun with other settings ({begun}); resume with the same ones.")
    differing = _differences(before, joined, SHARED)
    if others and differing:
        raise ConfigError(
            f"The {' and '.join(others)} of {run} {'was' if len(others) == 1 else 'were'} trained with "
            f"{', '.join(differing)}. Stages of a run share one configuration: give the same settings, or another "
            "--output."
        )
    return joined


def _differences(before: Config, after: Config, parts: Sequence[str] = ("",)) -> list[str]:
    """`key=value` of `before` for each single setting that differs and whose key begins with one of `parts`."""
    one, other = (dict(_leaves(config.model_dump(mode="json"))) for config in (before, after))
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in one.items()
        if key.startswith(tuple(parts)) and other.get(key, ...) != value
    ]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
