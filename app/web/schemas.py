"""The bodies of the routes, as pydantic models with complete examples. The answer itself is `app.answer`'s."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..answer import Answer, ModelName
from ..settings import Precision
from ..store.manifest import GRAPH_NAMES, Manifest

_EXAMPLE: dict[str, Any] = {
    "arousal": 3.41,
    "valence": 2.2,
    "emotion": {
        "label": "angry",
        "probabilities": {"neutral": 0.18, "sad": 0.09, "happy": 0.03, "surprise": 0.08, "angry": 0.62},
    },
    "modalities": ["audio", "text"],
    "audio": {"duration_s": 2.1, "sample_rate": 44100, "channels": 2},
    "model": {"name": "starter", "version": "0.1.0"},
    "warnings": [],
    "timing_ms": {"decode": 4.2, "queue": 0.1, "inference": 31.5},
}


def _stored(file: str) -> dict[str, Any]:
    return {"file": file, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "bytes": 4096}


_MODEL_EXAMPLE: dict[str, Any] = {
    "manifest": {
        "schema_version": 1,
        "name": "starter",
        "version": "0.1.0",
        "created": "2026-01-31",
        "preset": "starter",
        "semantics": "masked",
        "license": "CC-BY-NC-SA-4.0",
        "width": 192,
        "scale": [1.0, 5.0],
        "audio": {"sample_rate": 16000, "hop_length": 512, "max_frames": 512},
        "text": {"tokenizer": _stored("tokenizer.json"), "max_tokens": 64},
        "emotion": {
            "classes": ["neutral", "sad", "happy", "surprise", "angry"],
            "temperature": {"audio": 1.9, "text": 1.6, "both": 1.3},
        },
        "graphs": {"int8": {name: _stored(f"{name}.int8.onnx") for name in GRAPH_NAMES}},
        "card": _stored("MODEL_CARD.md"),
        "drift": {"int8": {"arousal": 0.02}},
        "evaluation": {},
        "training": {},
    },
    "card": "# starter 0.1.0",
    "precision": "int8",
    "provider": "cpu",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class PredictResponse(Answer):
    """The answer to POST /predict."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{**_EXAMPLE, "request_id": "6f1d9a52c3e84b0f9a7d2c41e85b7306"}]},
    )

    request_id: str


class ModelResponse(_Frozen):
    """The model that is being served."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_extra={"examples": [_MODEL_EXAMPLE]}
    )

    manifest: Manifest
    card: str
    """MODEL_CARD.md: what it was trained on, how good it is, what it is not for."""
    precision: Precision
    """Of the graphs in use."""
    provider: Literal["cpu", "cuda"]


class Live(_Frozen):
    status: Literal["live"] = "live"


class Ready(_Frozen):
    status: Literal["ready"] = "ready"


class ReloadRequest(BaseModel):
    """What to serve from now on."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"model": "starter"}]},
    )

    model: str | None = None
    """NAME, which is its newest version, or NAME/VERSION; null for that of the settings."""


class ReloadResponse(_Frozen):
    """What is served now."""

    model: ModelName


class Problem(_Frozen):
    """A failure, after RFC 9457: application/problem+json."""

    type: str
    """A URI that names the kind of failure."""
    title: str
    status: int
    detail: str
    """What to do about it."""
    code: str
    """Stable: write programs against this."""
    request_id: str
