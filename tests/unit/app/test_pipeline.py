"""The pure half of serving: from a clip and a transcript to an answer and its warnings."""

import io
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from app.answer import WARNINGS, Answer, Timing, WarningCode, warning_meaning
from app.audio.decode import decode
from app.engine.engine import ModelInput, Prediction
from app.engine.load import Model
from app.errors import ChannelMissing, NothingGiven, TranscriptTooLong
from app.pipeline import Prepared, answer, predict, prepare, read_transcript
from app.settings import Settings
from app.store.manifest import Bounds, Manifest
from tests.support import ROOT

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
    talk = decode((ROOT / "examples/complaint.wav").read_bytes()).samples[:32_000]
    answers = [
        ask(make_file(make_speech(4.0)), "가 " * 100),
        ask(make_file(np.zeros(16_000, dtype=np.float32)), "c/ n/"),
        ask(make_file(make_speech(0.1))),
        ask(make_file(np.stack([talk, talk[::-1]], axis=1)), "null"),
        ask(make_file(make_speech(1.0))[:-7]),
    ]
    details = {warned.code: warned.detail for answer in answers for warned in answer.warnings}
    assert details == {
        "audio_truncated": "The audio after 2.0 s was not used; send one utterance of the 4.0 s.",
        "audio_no_speech": "The audio holds no speech and was not judged; check the microphone, the level and the "
        "channel.",
        "audio_little_speech": "The audio holds 0.10 s of speech, too little to judge; do not rely on results that "
        "use it.",
        "audio_channels_differ": "The audio's channels hold different sound, such as one speaker each, and were mixed; "
        "send the field `channel` with a number from 0 to judge one.",
        "audio_part_missing": "Part of the file's sound was not used: it is damaged, cut off, or on another track. "
        "Send the whole file, with one audio track.",
        "transcript_truncated": "Only the first 14 tokens of the transcript were used.",
        "transcript_empty": "The transcript holds only tags or invisible characters; the answer uses the audio alone.",
        "transcript_not_korean": "The transcript has hardly any Hangul, and the model reads Korean; do not rely on "
        "results that use it. Send the Korean words, or leave the transcript out.",
    }
    assert {*details, "answer_uncertain"} == set(WARNINGS)


def test_an_answer_below_its_bound_is_uncertain(ask: Callable[..., Answer], model: Model, settings: Settings) -> None:
    first = ask(transcript="가 나")
    assert first.emotion
    confidence = max(first.emotion.probabilities.values())

    def codes(text_bound: float) -> list[str]:
        bounds = Bounds(audio=0.99, text=text_bound, both=0.99)
        emotion = model.manifest.emotion.model_copy(update={"uncertain_below": bounds})
        bounded = replace(model, manifest=model.manifest.model_copy(update={"emotion": emotion}))
        return [w.code for w in predict(bounded, settings, None, "가 나").warnings]

    assert codes(confidence + 0.001) == ["answer_uncertain"]
    assert codes(confidence - 0.001) == []


def test_probabilities_sum_to_one_as_decimals(manifest: Manifest) -> None:
    """Each within a unit of the last decimal, in the order of the unrounded ones."""
    classes = manifest.emotion.classes
    logits = np.random.default_rng(5).normal(0, 3, (500, len(classes)))
    exact = np.vstack([np.exp(logits), np.ones(len(classes)), np.eye(len(classes))])
    prepared = Prepared(ModelInput(None, np.array([1])), None, [])
    for row in exact / exact.sum(axis=1, keepdims=True):
        prediction = Prediction(None, None, tuple(row.tolist()))
        emotion = answer(prepared, prediction, manifest, Timing.of_seconds(decode=0)).emotion
        assert emotion is not None
        shown = list(emotion.probabilities.values())
        assert sum(map(Decimal, map(str, shown))) == 1
        assert np.abs(np.array(shown) - row).max() < 1e-4
        assert emotion.probabilities[emotion.label] == max(shown)


@pytest.mark.parametrize("code", WARNINGS)
def test_the_documentation_shows_no_template(code: WarningCode) -> None:
    assert warning_meaning(code).endswith(".") and not set("{}") & set(warning_meaning(code))


def test_warnings_of_the_audio_come_first(
    model: Model, manifest: Manifest, make_speech: MakeSpeech, make_file: MakeFile
) -> None:
    read = read_transcript("가" * 100, True, model.tokenizer, 2000)
    prepared = prepare(decode(make_file(make_speech(4.0))), read, manifest, None)
    assert [warned.code for warned in prepared.warnings] == ["audio_truncated", "transcript_truncated"]
    assert prepared.given is not None and prepared.given.waveform is not None
    assert len(prepared.given.waveform) == manifest.audio.max_samples


def test_a_transcript_is_bounded_before_it_is_cleaned(model: Model) -> None:
    with pytest.raises(TranscriptTooLong, match="has 21 characters and may have 20"):
        read_transcript("c/ " * 7, True, model.tokenizer, 20)


def test_decomposed_hangul_may_be_as_long_as_composed(model: Model) -> None:
    decomposed = unicodedata.normalize("NFD", "값싼" * 10)
    tokens = read_transcript(decomposed, False, model.tokenizer, 20).input_ids
    assert tokens is not None and tokens.tolist() == model.tokenizer.encode("값싼" * 10).ids.tolist()
    with pytest.raises(TranscriptTooLong, match="has 20 characters and may have 19"):
        read_transcript(decomposed, False, model.tokenizer, 19)


INVISIBLE = ("\ufeff", "\u200b \u200d", "\u3164", "\u1160\uffa0", "\u2800\n", "\0", "c/\u200b")


@pytest.mark.parametrize("transcript", INVISIBLE)
def test_what_nobody_sees_is_no_transcript(model: Model, transcript: str) -> None:
    with pytest.raises(NothingGiven):
        read_transcript(transcript, False, model.tokenizer, 2000)
    read = read_transcript(transcript, True, model.tokenizer, 2000)
    assert read.input_ids is None and [warned.code for warned in read.warnings] == ["transcript_empty"]


def test_the_channel_that_was_judged_is_answered(model: Model, make_speech: MakeSpeech, make_file: MakeFile) -> None:
    one, other = make_speech(1.0), make_speech(1.0, seed=4)
    asked = {None: make_file(np.stack([one, one], axis=1)), 1: make_file(np.stack([other, one], axis=1))}
    settings = Settings(threads=1)
    answers = [predict(model, settings, io.BytesIO(data), None, channel=channel) for channel, data in asked.items()]
    assert [answer.audio and answer.audio.channel for answer in answers] == ["mix", 1]
    assert answers[0].emotion == answers[1].emotion and answers[0].arousal == answers[1].arousal
    with pytest.raises(ChannelMissing, match="Channel 2 was asked for, and the audio has the channels 0 to 1"):
        predict(model, settings, io.BytesIO(asked[1]), None, channel=2)


@pytest.mark.parametrize("transcript", [None, "", " \n", "c/ n/"])
def test_a_blank_transcript_needs_audio(model: Model, transcript: str | None) -> None:
    with pytest.raises(NothingGiven):
        read_transcript(transcript, False, model.tokenizer, 2000)
    assert read_transcript(transcript, True, model.tokenizer, 2000).input_ids is None
