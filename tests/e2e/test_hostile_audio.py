"""Audio made to do harm, sent over HTTP to decoders in processes of their own: each has its code, none hurts others."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.engine.load import Model
from app.settings import Settings
from app.web.api import create_app

MakeFile = Callable[..., bytes]


def _serve(model: Model, settings: Settings) -> TestClient:
    return TestClient(create_app(settings, model), raise_server_exceptions=False)


def _code(client: TestClient, audio: bytes) -> tuple[int, str]:
    response = client.post("/predict", files={"audio": audio})
    return response.status_code, response.json().get("code", "")


def _noise(rate: int, channels: int) -> Any:
    return (np.random.default_rng(4).normal(0, 0.1, (rate, channels))).astype(np.float32)


def test_each_has_its_code(model: Model, settings: Settings, make_file: MakeFile, wav: bytes) -> None:
    silence = np.zeros(8_000 * 700, dtype=np.float32)
    bomb = make_file(np.zeros(8_000 * 700, dtype=np.int16), 8_000, "FLAC")
    assert len(bomb) < 30_000
    cases: dict[tuple[int, str], list[bytes]] = {
        (200, ""): [make_file(_noise(192_000, 2), 192_000), make_file(_noise(48_000, 8), 48_000), wav[:-7]],
        (415, "audio_format_unsupported"): [b"#EXTM3U\nhttp://127.0.0.1/x", b"ffconcat version 1.0\nfile /etc/passwd"],
        (422, "audio_empty"): [b"", make_file(np.zeros(0, dtype=np.int16))],
        (422, "audio_too_long"): [bomb, make_file(silence, 8_000, "OGG", "OPUS")],
        (422, "audio_too_many_channels"): [make_file(_noise(8_000, 32), 8_000)],
        (422, "audio_undecodable"): [
            wav[:40],
            wav[:24] + struct.pack("<I", 5) + wav[28:],  # 5 Hz
            make_file(np.array([0.1, np.nan] * 8000, dtype=np.float32), encoding="FLOAT"),
            make_file(np.array([0.1, np.inf] * 8000, dtype=np.float32), encoding="FLOAT"),
        ],
    }
    with _serve(model, settings) as client:
        for expected, clips in cases.items():
            assert [_code(client, clip) for clip in clips] == [expected] * len(clips)
        assert _code(client, wav) == (200, "")


def test_a_clip_that_takes_too_much_memory(model: Model, settings: Settings, make_file: MakeFile, wav: bytes) -> None:
    small = settings.model_copy(update={"decode_memory_bytes": 20_000_000})
    long = make_file(np.zeros((48_000 * 60, 8), dtype=np.int16), 48_000, "FLAC")
    with _serve(model, small) as client:
        assert _code(client, long) == (422, "audio_too_costly")
        assert _code(client, wav) == (200, "")


def test_where_no_process_can_be_started_text_is_still_answered(
    model: Model, settings: Settings, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _serve(model, settings) as client:
        with monkeypatch.context() as broken:
            broken.setattr("sys.executable", "/nonexistent")
            assert _code(client, wav) == (503, "decoder_unavailable")
            assert client.post("/predict", data={"transcript": "정말"}).status_code == 200
        assert _code(client, wav) == (200, "")
