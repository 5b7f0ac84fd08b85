"""A run: a folder that holds one training's configuration, tokenizer, weights and log."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from ..config import (
    STAGES,
    Config,
    ConfigError,
    Stage,
)
from ..data.utterance import Utterance
from ..networks.files import (
    CONFIG_FILE,
    load_stage,
    load_weights,
    save_config,
    save_stage,
)
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE, load_encoder
from ..networks.tokenizer import write_tokenizer
from ..networks.whisper import WhisperArousal, load_pretrained
from .train import train_stage


def train(
    stages: Sequence[Stage],
    config: Config,
    utterances: Sequence[Utterance],
    run: Path,
    accelerator: Accelerator,
    resume: bool = False,
    init_from: Path | None = None,
) -> dict[Stage, float]:
    """Trains `stages` one after the other and returns the best validation score of each.

    `emotion` loads the other two networks from the run where they are not among `stages`. `resume` continues a run that
    was interrupted. With `init_from`, a version's folder, training starts from its weights and the networks have its
    size: only `config.train` counts then. Raises ConfigError where `resume` would mix two configurations, RunError, and
    the errors of `training.learning.train.train_stage`.
    """
    networks = _networks(config, init_from)
    if resume:
        check_same(networks.config, run)
    if accelerator.is_main_process:
        save_config(run, networks)
        if init_from is None:
            transcripts = [utterance.transcript for utterance in utterances if utterance.transcript]
            write_tokenizer(config.text.encoder, run, networks.text.encoder.config.vocab_size, transcripts)
        else:
            shutil.copyfile(init_from / TOKENIZER_FILE, run / TOKENIZER_FILE)
    accelerator.wait_for_everyone()
    if "emotion" in stages and init_from is None:
        for stage in STAGES[:2]:
            if stage not in stages:
                load_stage(run, networks, stage)
    fresh = init_from is None
    scores = {stage: train_stage(stage, networks, utterances, run, accelerator, resume, fresh) for stage in stages}
    if accelerator.is_main_process and not fresh:
        for stage in STAGES:
            save_stage(run, networks, stage)  # also the stages that were not trained
    return scores


def new_networks(config: Config) -> Networks:
    """Untrained networks on their pretrained encoders. Raises EncoderError."""
    networks = Networks(config, load_encoder(config.text.encoder, config.text.layers, config.text.dropout))
    if isinstance(networks.audio, WhisperArousal) and config.audio.encoder:
        load_pretrained(networks.audio.encoder, config.audio.encoder)
    return networks


def _networks(config: Config, init_from: Path | None) -> Networks:
    if init_from is None:
        return new_networks(config)
    networks = load_weights(init_from)
    networks.config = networks.config.model_copy(update={"train": config.train, "preset": config.preset})
    return networks


def check_same(config: Config, run: Path) -> None:
    """Raises ConfigError if `run` was begun with another configuration."""
    path = run / CONFIG_FILE
    if path.is_file() and Config.model_validate_json(path.read_text(encoding="utf-8")) != config:
        raise ConfigError(f"{run} was begun with other settings ({CONFIG_FILE}); resume with those.")
