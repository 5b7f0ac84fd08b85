"""Request and response bodies as pydantic models, with complete examples. `app.answer` has the prediction itself."""

from collections.abc import Mapping
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
    "audio": {"duration_s": 2.1, "sample_rate": 44100, "channels": 2, "channel": "mix"},
    "model": {"name": "starter", "version": "0.1.0"},
    "warnings": [],
    "timing_ms": {"decoder_queue": 0.1, "decode": 4.2, "queue": 0.1, "inference": 31.5},
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

CHANNEL = "^(mix|0|[1-9][0-9]{0,3})$"
_BASE64 = "`audio` as base64 in the standard alphabet, in one line and without a `data:` prefix."


def other_forms(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The content types of POST /predict beside multipart/form-data, of which `fields` are the schemas, for OpenAPI."""
    audio = {"type": ["string", "null"], "format": "byte", "contentEncoding": "base64", "contentMediaType": "audio/*"}
    channel = {"anyOf": [fields["channel"], {"type": "integer", "minimum": 0, "maximum": 9999}, {"type": "null"}]}
    in_json = {
        "audio": audio | {"description": f"{_BASE64} {fields['audio']['description']}"},
        "transcript": fields["transcript"] | {"type": ["string", "null"]},
        "channel": channel | {"description": fields["channel"]["description"]},
    }
    closed = {"type": "object", "minProperties": 1, "additionalProperties": False}
    text = {"transcript": fields["transcript"]}
    return {
        "application/json": {
            "schema": closed | {"properties": in_json},
            "example": {"transcript": fields["transcript"]["examples"][0], "channel": "mix"},
        },
        "application/x-www-form-urlencoded": {"schema": closed | {"properties": text, "required": ["transcript"]}},
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
    """The same as in the header X-Request-ID."""


class ModelResponse(_Frozen):
    """The served model."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_extra={"examples": [_MODEL_EXAMPLE]}
    )

    manifest: Manifest
    """The version's manifest.json."""
    card: str
    """MODEL_CARD.md, Markdown: training data, measured quality, and unsuitable uses."""
    precision: Precision
    """Precision of the graphs in use."""
    provider: Literal["cpu", "cuda"]
    """Device of the graphs in use."""


class Live(_Frozen):
    """The process runs."""

    status: Literal["live"] = "live"


class Ready(_Frozen):
    """The service takes requests."""

    status: Literal["ready"] = "ready"


class ReloadRequest(BaseModel):
    """The model to serve from now on."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"model": "starter"}]},
    )

    model: str | None = None
    """NAME (its newest version) or NAME/VERSION; null for the model of the settings."""


class ReloadResponse(_Frozen):
    """The model that is served now."""

    model: ModelName


class Problem(_Frozen):
    """A failure as RFC 9457 describes it: application/problem+json."""

    type: str
    """URI of the kind of failure."""
    title: str
    """The kind of failure, for a person."""
    status: int
    """HTTP status."""
    detail: str
    """The reason, and how to correct it."""
    code: str
    """The kind of failure, for programs: codes never change."""
    request_id: str
    """The same as in the header X-Request-ID, for the operator."""
