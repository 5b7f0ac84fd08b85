"""What a model gets of a clip: the speech in it alone, whatever stands around it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE, decode
from app.engine.detector import BLOCK, FRAME, SpeechDetector
from app.errors import ModelCorrupt
from app.hearing import Heard, hear
from app.store.manifest import AudioInput
from tests.support import ROOT

Samples = NDArray[np.float32]
Hear = Callable[[NDArray[np.floating]], Heard]

AUDIO = AudioInput(sample_rate=SAMPLE_RATE, hop_length=512, max_frames=512)
MARGIN_S = 0.1
NEAR_S = 0.1  # of a boundary: three of the detector's frames
NOISY_S = 0.4  # in noise, which it takes for the end of a word


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector(next((ROOT / "model_store").glob("starter/*/silero_vad.onnx")))


@pytest.fixture(scope="module")
def listen(detector: SpeechDetector) -> Hear:
    return lambda samples: hear(np.asarray(samples, dtype=np.float32), AUDIO, detector)


@pytest.fixture(scope="module")
def talk() -> Samples:
    return decode((ROOT / "examples/complaint.wav").read_bytes()).samples


def white(seconds: float, level_db: float) -> Samples:
    noise = np.random.default_rng(3).standard_normal(round(seconds * SAMPLE_RATE))
    return (noise * 10 ** (level_db / 20)).astype(np.float32)


def seconds(heard: Heard) -> tuple[float, float]:
    return heard.used.start / SAMPLE_RATE, heard.used.end / SAMPLE_RATE


@pytest.mark.parametrize("level_db", [-np.inf, -60.0, -45.0])
@pytest.mark.parametrize(("before_s", "after_s"), [(0, 1), (3, 0), (3, 3), (15, 2)])
def test_silence_and_noise_around_speech_change_nothing(
    listen: Hear, talk: Samples, before_s: float, after_s: float, level_db: float
) -> None:
    alone = listen(talk)
    around = listen(np.concatenate((white(before_s, level_db), talk, white(after_s, level_db))))
    assert alone.waveform is not None and around.waveform is not None
    near_s = NOISY_S if level_db > -50 else 2 * NEAR_S
    assert len(around.waveform) == pytest.approx(len(alone.waveform), abs=2 * near_s * SAMPLE_RATE)
    assert around.speech_s == pytest.approx(alone.speech_s, abs=2 * near_s)
    start, end = seconds(alone)
    assert seconds(around) == pytest.approx((before_s + start, before_s + end), abs=near_s)
    assert not around.truncated


def test_the_window_begins_where_speech_begins_and_a_long_clip_is_cut(listen: Hear, talk: Samples) -> None:
    heard = listen(np.concatenate((white(20, -50), np.tile(talk, 8))))
    assert heard.waveform is not None and len(heard.waveform) == AUDIO.max_samples
    assert heard.used.start >= 19.8 * SAMPLE_RATE and heard.truncated


def test_a_long_pause_is_cut_out_and_a_short_one_kept(listen: Hear, talk: Samples) -> None:
    whole = listen(talk).waveform
    paused = listen(np.concatenate((talk, white(5, -55), talk)))
    assert whole is not None and paused.waveform is not None and paused.speech is not None
    assert len(paused.waveform) == pytest.approx(2 * len(whole), abs=4 * NEAR_S * SAMPLE_RATE)
    gaps = [after.start - before.end for before, after in zip(paused.speech, paused.speech[1:], strict=False)]
    assert max(gaps) > 4.5 * SAMPLE_RATE and min(gaps, default=0) > 2 * MARGIN_S * SAMPLE_RATE


@pytest.mark.parametrize("gain", [1.0, 0.5, 0.003])
@pytest.mark.parametrize("offset", [0.0, 0.1, -0.3])
def test_neither_level_nor_offset_counts(listen: Hear, talk: Samples, gain: float, offset: float) -> None:
    alone, heard = listen(talk), listen(talk * gain + offset)
    assert alone.waveform is not None and heard.waveform is not None
    assert seconds(heard) == pytest.approx(seconds(alone), abs=NEAR_S)
    assert abs(float(heard.waveform.mean())) < 1e-4


def test_a_wild_value_hides_no_speech(listen: Hear, talk: Samples) -> None:
    """As in a float file whose end is broken."""
    heard = listen(np.concatenate((talk, white(3, -60), np.float32([1000.0]))))
    alone = listen(talk)
    assert heard.speech_s == pytest.approx(alone.speech_s, abs=NEAR_S)
    assert heard.waveform is not None and 0.05 < np.abs(heard.waveform).max() <= 1


def tone(hertz: float) -> Samples:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def chords() -> Samples:
    """A melody with harmonics that fade, and a drum."""
    random = np.random.default_rng(5)
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    parts = []
    for _ in range(10):
        pitches = 130 * 2 ** (random.choice([0, 2, 4, 5, 7, 9, 11, 12], size=3) / 12)
        sound = sum(np.sin(2 * np.pi * h * p * time) / h for p in pitches for h in range(1, 8))
        drum = random.standard_normal(len(time)) * np.exp(-60 * time)
        parts.append(np.exp(-3 * time) * sound + drum)
    music = np.concatenate(parts)
    return (0.5 * music / np.abs(music).max()).astype(np.float32)


click = np.zeros(SAMPLE_RATE, dtype=np.float32)
click[8000] = 1.0


@pytest.mark.parametrize(
    "samples",
    [np.zeros(SAMPLE_RATE), np.full(SAMPLE_RATE, 0.3), white(3, -60), white(3, -20), tone(440), chords(), click, [0.5]],
    ids=["zeros", "offset", "hiss", "noise", "tone", "music", "click", "one sample"],
)
def test_no_speech_is_none(listen: Hear, samples: NDArray[np.floating]) -> None:
    heard = listen(samples)
    assert (heard.waveform, heard.speech, heard.speech_s, heard.truncated) == (None, (), 0.0, False)


def test_without_a_detector_a_clip_is_taken_as_it_is(talk: Samples) -> None:
    long = np.concatenate((white(15, -60), talk))
    heard = hear(long, AUDIO, None)
    assert heard.waveform is not None and np.array_equal(heard.waveform, long[: AUDIO.max_samples])
    assert heard.speech is None and heard.truncated
    assert hear(white(1, -90), AUDIO, None).waveform is None


def test_a_clip_past_full_scale_is_brought_back(talk: Samples) -> None:
    heard = hear(talk * 1e6, AUDIO, None)
    assert heard.waveform is not None
    np.testing.assert_allclose(heard.waveform, talk / np.abs(talk).max(), atol=1e-6)


def test_blocks_of_a_long_clip_are_searched_as_one(detector: SpeechDetector, talk: Samples) -> None:
    """The state goes on from block to block, so the first frame of the second is no beginning."""
    long = np.tile(talk, 6)
    blocks = list(detector.probabilities(long))
    assert [len(block) for block in blocks[:-1]] == [BLOCK] * (len(blocks) - 1) and len(blocks) > 1
    shifted = list(detector.probabilities(long[FRAME * 4 :]))
    one, other = np.concatenate(blocks)[4:], np.concatenate(shifted)
    assert np.mean(np.abs(one - other) < 0.05) > 0.97


def test_another_graph_is_no_detector(tmp_path: Path) -> None:
    other = next((ROOT / "model_store").glob("starter/*/emotion.int8.onnx"))
    with pytest.raises(ModelCorrupt, match="is not Silero's sequence graph"):
        SpeechDetector(other)
    (tmp_path / "broken.onnx").write_bytes(b"onnx")
    with pytest.raises(ModelCorrupt, match="cannot be loaded by onnxruntime"):
        SpeechDetector(tmp_path / "broken.onnx")
