"""The pure half of serving: from a clip and a transcript to an answer and its warnings."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app.answer import WARNINGS, Answer, WarningCode, warning_meaning
from app.audio.decode import decode
from app.engine.load import Model
from app.errors import NothingGiven, TranscriptTooLong
from app.pipeline import predict, prepare, read_transcript
from app.settings import Settings
from app.store.manifest import Manifest

MakeSpeech = Callable[..., NDArray[np.float32]]
MakeFile = Callable[..., bytes]


@pytest.fixture
def ask(model: Model, settings: Settings) -> Callable[..., Answer]:
    """Answers samples, a transcript, or both."""

    def ask(audio: bytes | None = None, transcript: str | None = None) -> Answer:
        return predict(model, settings, None if audio is None else io.BytesIO(audio), transcript)

    return ask


def test_each_warning_is_a_sentence_with_its_values(
    ask: Callable[..., Answer], make_speech: MakeSpeech, make_file: MakeFile
) -> None:
    answers = [
        ask(make_file(make_speech(4.0)), "가 " * 100),
        ask(make_file(np.zeros(16_000, dtype=np.float32)), "c/ n/"),
        ask(make_file(make_speech(0.1))),
        ask(make_file(make_speech(1.0))[:-7]),
    ]
    details = {warned.code: warned.detail for answer in answers for warned in answer.warnings}
    assert details == {
        "audio_truncated": "Only the first 2.0 s of 4.0 s of audio were used.",
        "audio_silent": "The audio is silent, or nearly; do not rely on results that use it.",
        "audio_too_short": "The audio lasts 0.10 s, too short to judge; do not rely on results that use it.",
        "audio_part_missing": (
            "Part of the file's sound was not used: it is damaged, cut off, or on another track. "
            "Send the whole file, with one audio track."
        ),
        "transcript_truncated": "Only the first 16 tokens of the transcript were used.",
        "transcript_empty": "The transcript holds only transcription tags; the answer uses the audio alone.",
    }
    assert set(details) == set(WARNINGS)


@pytest.mark.parametrize("code", WARNINGS)
def test_the_documentation_shows_no_template(code: WarningCode) -> None:
    assert warning_meaning(code).endswith(".") and not set("{}") & set(warning_meaning(code))


def test_warnings_of_the_audio_come_first(
    model: Model, manifest: Manifest, make_speech: MakeSpeech, make_file: MakeFile
) -> None:
    read = read_transcript("가" * 100, True, model.tokenizer, 2000)
    prepared = prepare(decode(make_file(make_speech(4.0))), read, manifest)
    assert [warned.code for warned in prepared.warnings] == ["audio_truncated", "transcript_truncated"]
    assert prepared.given.waveform is not None and len(prepared.given.waveform) == manifest.audio.max_samples


def test_a_transcript_is_bounded_before_it_is_cleaned(model: Model) -> None:
    with pytest.raises(TranscriptTooLong, match="has 21 characters and may have 20"):
        read_transcript("c/ " * 7, True, model.tokenizer, 20)


@pytest.mark.parametrize("transcript", [None, "", " \n", "c/ n/"])
def test_a_blank_transcript_needs_audio(model: Model, transcript: str | None) -> None:
    with pytest.raises(NothingGiven):
        read_transcript(transcript, False, model.tokenizer, 2000)
    assert read_transcript(transcript, True, model.tokenizer, 2000).input_ids is None
