"""The numbers of a model and of its training. The defaults are the published ones; a preset changes some, and says why.

Presets are TOML files in `training/presets`. An unknown key is an error.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import TrainingError

PRESETS = Path(__file__).parent / "presets"

Head = Literal["recurrent", "attentive", "mean"]
"""How a sequence becomes one vector: the last state of a recurrent stack, as published, or a weighted or plain mean."""
Stage = Literal["audio", "text", "emotion"]
STAGES: tuple[Stage, ...] = ("audio", "text", "emotion")


class ConfigError(TrainingError):
    """A preset or an override that is not valid; the message says which value and why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BlockConfig(_Frozen):
    """A stack of transformer layers."""

    layers: int = Field(ge=0)
    heads: int = Field(6, ge=1)
    feed_forward: int = Field(1024, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class AudioEncoderConfig(_Frozen):
    """The first layers of a pretrained Whisper encoder, and its shape."""

    name: str = Field(description="Hub name or local folder")
    frozen: bool = True
    layers: int = Field(ge=1)
    averaged: int = Field(
        1, ge=1, description="The embedding is the mean of the outputs of so many last layers, or of all"
    )
    width: int = Field(384, ge=1)
    heads: int = Field(6, ge=1)
    feed_forward: int = Field(1536, ge=1)


class SpeechConfig(_Frozen):
    """How speech is found. The network gets the speech alone, in training and in serving."""

    detector: str = Field(description="Silero's sequence graph, a file NAME.onnx with its licence in NAME.LICENSE.md")
    least_s: float = Field(0.5, gt=0, description="Seconds of speech, of which fewer are answered with a warning")


class AudioConfig(_Frozen):
    """The audio network, on mels and convolutions as published, or on a pretrained encoder."""

    encoder: Annotated[AudioEncoderConfig | None, BeforeValidator(lambda value: value or None)] = Field(
        None, description="A Whisper encoder instead of mels and convolutions; none if empty"
    )
    speech: Annotated[SpeechConfig | None, BeforeValidator(lambda value: value or None)] = Field(
        None, description="How speech is found; if empty, clips are taken as they are, as published"
    )
    channels: tuple[int, int] = (8, 24)
    block: BlockConfig = BlockConfig(layers=7)
    head: Head = "recurrent"
    recurrent: int = Field(64, description="Width of the GRU")
    max_frames: int = 512
    level_db: tuple[float, float] = Field(
        (0.0, 1.0), description="Log-mel enters the convolutions as (dB - first) / second, the difference as / second"
    )


class TextConfig(_Frozen):
    """The text network on top of a BERT-like encoder that `transformers` loads."""

    encoder: str = Field("skt/kobert-base-v1", description="Hub name or local folder")
    frozen: bool = True
    layers: int | None = Field(None, ge=1, description="Number of the encoder's layers, from the first; all if absent")
    dropout: float | None = Field(None, ge=0, lt=1, description="Inside the encoder; its own value if absent")
    block: BlockConfig = BlockConfig(layers=5)
    head: Head = "recurrent"
    recurrent: int = Field(64, description="Width of the GRU")
    max_tokens: int = 64


class EmotionConfig(_Frozen):
    """The classifier on both embeddings."""

    fusion: Literal["joined", "added", "either"] = Field(
        "joined",
        description="One sequence of both, as published; the sum of each modality's own logits; or what either of the "
        "modalities expresses",
    )

    classes: tuple[str, ...] = ("neutral", "sad", "happy", "surprise", "angry")
    neutral: str = Field("neutral", description="The class that stands for no emotion, for `either`")
    block: BlockConfig = BlockConfig(layers=4, feed_forward=3072)
    head: Head = "recurrent"
    recurrent: int = Field(128, description="Width of the LSTM")


class StageConfig(_Frozen):
    """How one stage is trained."""

    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 2e-5
    encoder_learning_rate: float = Field(2e-5, description="Of a text encoder that is not frozen")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's; Adam has none")
    warmup_steps: int = Field(0, ge=0, description="Optimiser steps over which the learning rate rises from 0")
    decay: float = Field(0.8, gt=0, le=1, description="Factor on the learning rate after each epoch")
    clip_norm: float | None = Field(None, gt=0, description="Largest norm of the gradient")
    loss: Literal["rmse", "ccc"] = Field("rmse", description="Of the regressors; the classifier's is cross-entropy")
    tags_weight: float = Field(
        0.0,
        ge=0,
        description="Of a second loss, which predicts an utterance's tags from the embedding; utterances with tags "
        "but without a score are used too",
    )
    emotion_weight: float = Field(
        0.0,
        ge=0,
        description="Of another second loss of a regressor, which predicts the emotion from the embedding; utterances "
        "with an emotion but without a score are used too",
    )
    epochs: int = Field(20, ge=1)
    patience: int = Field(8, ge=1, description="Epochs without better validation before stopping")
    choose_by: Literal["loss", "score"] = Field(
        "loss",
        description="The best epoch has the lowest validation loss, as published, or the highest CCC (regressors) or "
        "UAR (classifier); of equals, the lower loss",
    )
    batch_size: int = Field(32, ge=1, description="Utterances per optimiser step and process")
    accumulate: int = Field(1, ge=1, description="Parts in which a batch is computed, to save memory; classifier only")
    limit: int | None = Field(None, ge=1, description="Most optimiser steps in an epoch")
    checkpoint_steps: int = Field(
        500, ge=1, description="Optimiser steps between checkpoints: the most that an interrupted run loses"
    )
    repeat: dict[str, int] = Field(
        default_factory=dict, description="Times that an epoch contains a corpus; 1 if absent"
    )


class EmotionStageConfig(StageConfig):
    """The classifier's stage: how often modalities are masked, and how classes are balanced."""

    drop_audio: float = Field(0.15, ge=0, le=1, description="Share of training utterances with the audio masked")
    drop_text: float = Field(0.15, ge=0, le=1, description="Share with the text masked")
    class_weights: bool = Field(False, description="Weigh the classes by their inverse frequency in the loss")
    balanced: bool = Field(False, description="Draw the classes equally often")
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _evened_out_once(self) -> Self:
        if self.class_weights and self.balanced:
            raise ValueError("class_weights and balanced both even out the classes; together, rare ones dominate")
        return self


class Augmentation(_Frozen):
    """How training utterances are augmented: three kinds of copy, see training.data.augment."""

    mode: Literal["copies", "on_the_fly", "none"] = Field(
        "copies",
        description="Fixed copies in addition to the originals, as published, or a new draw instead each epoch",
    )
    classes: tuple[str, ...] = Field(("surprise", "angry", "sad"), description="Emotions to augment; all if empty")
    share: float = Field(0.5, ge=0, le=1, description="On the fly: share of the utterances to change")
    respell: float = Field(
        0.0, ge=0, le=1, description="Share of the transcripts that lose punctuation, or all their spaces, each epoch"
    )


class TrainConfig(_Frozen):
    """The three stages, and the settings that they share."""

    seed: int = 1
    precision: Literal["no", "bf16", "fp16"] = Field("no", description="Mixed precision, by Accelerate's names")
    compile: bool = Field(False, description="torch.compile for the transformer layers")
    workers: int = Field(0, ge=0, description="Processes that decode audio, per training process")
    augment: Augmentation = Augmentation()
    audio: StageConfig = StageConfig()
    text: StageConfig = StageConfig(decay=0.6, epochs=30, batch_size=16)
    emotion: EmotionStageConfig = EmotionStageConfig(epochs=30, batch_size=16)

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        for name, settings in (("audio", self.audio), ("text", self.text)):
            if settings.accumulate > 1:
                raise ValueError(
                    f"{name}.accumulate: RMSE and CCC are of a whole batch and not the mean of its parts; "
                    f"set a smaller {name}.batch_size"
                )
        return self

    def stage(self, stage: Stage) -> StageConfig:
        """The settings of `stage`."""
        return {"audio": self.audio, "text": self.text, "emotion": self.emotion}[stage]


class Config(_Frozen):
    """A model and its training."""

    preset: str
    semantics: Literal["masked", "original"] = Field(
        "masked", description="`original` is for the published checkpoints only: see training.networks.original"
    )
    audio: AudioConfig = AudioConfig()
    text: TextConfig = TextConfig()
    emotion: EmotionConfig = EmotionConfig()
    train: TrainConfig = TrainConfig()

    @property
    def width(self) -> int:
        """Width of the embeddings: the audio encoder's, or 32 frequencies times the last number of channels."""
        return self.audio.encoder.width if self.audio.encoder else 32 * self.audio.channels[1]

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        for name, block in (("audio", self.audio.block), ("text", self.text.block), ("emotion", self.emotion.block)):
            if self.width % block.heads:
                raise ValueError(f"{name}: {block.heads} heads do not divide the width {self.width}")
        return self


def load_preset(name: str, overrides: dict[str, object] | None = None) -> Config:
    """The preset `name` with `overrides` by dotted key (`train.audio.epochs`) on top. Raises ConfigError."""
    path = PRESETS / f"{name}.toml"
    if not path.is_file():
        raise ConfigError(f"There is no preset {name!r}; there are {', '.join(preset_names())}.")
    values = Config(preset=name).model_dump()
    _merge(Config, values, tomllib.loads(path.read_text(encoding="utf-8")))
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"Preset {name}: {where or 'values'}: {first['msg']}") from error


def _override(values: dict[str, Any], key: str, value: object) -> None:
    """Puts `value` under the dotted `key`, in place. Raises ConfigError where the key leads through a single value."""
    if key == "preset":
        raise ConfigError("preset: the name of the preset is no setting; use --preset.")
    *parents, leaf = key.split(".")
    table: dict[str, Any] = values
    model: type[BaseModel] | None = Config
    for parent in parents:
        if table.get(parent) is None:
            table[parent] = {}
        if not isinstance(table[parent], dict):
            raise ConfigError(f"{key}: {parent} is a value, not a table.")
        table, model = table[parent], _table(model, parent)
    _merge(model, table, {leaf: value})


def _merge(model: type[BaseModel] | None, values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Puts `changes` into `values`, the fields of a `model`, in place. A table of settings keeps what is not named.

    A mapping that is no table of settings, such as `repeat`, is one value, and replaced whole.
    """
    for key, value in changes.items():
        inner = _table(model, key)
        if inner is not None and isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(inner, values[key], value)
        else:
            values[key] = value


def _table(model: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The settings that stand under `key`, None where it is a single value."""
    field = None if model is None else model.model_fields.get(key)
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))
