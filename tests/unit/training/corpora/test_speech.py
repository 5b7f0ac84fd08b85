"""ko_emotional_speech, on a miniature copy of it; the real one where it is there."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.audio.decode import decode
from training.corpora.speech import read_korean_speech
from training.corpora.tally import Report


def write_speech(folder: Path, header: str, rows: list[str]) -> Path:
    (folder / "audio").mkdir(parents=True)
    for row in rows:
        soundfile.write(folder / row.split(",")[0], np.zeros(2_000), 16_000)
    (folder / "metadata.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return folder


@pytest.fixture
def korean(tmp_path: Path) -> Path:
    rows = [
        f"audio/{speaker}1.flac,{speaker},{gender},{script},{emotion},힘내세요.,힘내세요."
        for speaker, gender, script, emotion in (
            ("ema", "female", "plain", "angry"),
            ("emf", "male", "plain", "happy"),
            ("emg", "male", "plain", "sad"),
            ("nea", "female", "emotional", "neutral"),
            ("nec", "female", "emotional", "happy"),
            ("ned", "female", "emotional", "happy"),
            ("nek", "male", "emotional", "happy"),
            ("nel", "male", "emotional", "angry"),
            ("nem", "male", "emotional", "sad"),
        )
    ]
    header = "file,speaker,gender,script,emotion,transcript,spoken_form"
    return write_speech(tmp_path / "ko_emotional_speech", header, rows)


def test_korean_speakers_train_unless_they_test_and_only_these_have_transcripts(korean: Path) -> None:
    utterances = {
        utterance.speaker: utterance for utterance in read_korean_speech(korean, Report(), test=["emg", "nem"])
    }
    assert {speaker for speaker, utterance in utterances.items() if utterance.split == "test"} == {"emg", "nem"}
    assert {utterance.split for utterance in read_korean_speech(korean, Report())} == {"train"}
    for utterance in utterances.values():
        transcript = "힘내세요." if utterance.split == "test" else None
        assert (utterance.transcript, utterance.raw_transcript) == (transcript, transcript)
        assert utterance.session in ("plain", "emotional")
        assert utterance.duration_s == pytest.approx(0.125)


def test_korean_anger_and_sadness_have_each_others_name(korean: Path) -> None:
    utterances = {utterance.speaker: utterance for utterance in read_korean_speech(korean, Report())}
    emotions = {speaker: utterances[speaker].emotion for speaker in ("ema", "nel", "emg", "nem", "emf", "nea")}
    assert emotions == {"ema": "sad", "nel": "sad", "emg": "angry", "nem": "angry", "emf": "happy", "nea": "neutral"}
    assert (utterances["ema"].arousal, utterances["emg"].arousal) == (2.939, 3.560)


def test_a_missing_or_broken_recording_is_named(korean: Path) -> None:
    missing, broken = korean / "audio" / "ema1.flac", korean / "audio" / "emf1.flac"
    missing.unlink()
    broken.write_bytes(b"fLaC")
    report = Report()
    assert len(list(read_korean_speech(korean, report))) == 7
    assert [name.split(":")[0] for name in report.problems["missing audio"]] == [str(missing)]
    assert [name.split(":")[0] for name in report.problems["undecodable"]] == [str(broken)]


def test_the_real_korean_speech_is_whole(shared_corpora: Path) -> None:
    report = Report()
    utterances = list(read_korean_speech(shared_corpora / "ko_emotional_speech", report))
    assert Counter(utterance.split for utterance in utterances) == {"train": 200}
    assert set(Counter(utterance.emotion for utterance in utterances).values()) == {50}
    assert not report.problems
    assert not [u for u in utterances if u.transcript or u.raw_transcript]


def test_real_angry_clips_are_brighter_than_sad_ones(shared_corpora: Path) -> None:
    """As in any language (Scherer, 2003): the corpus's own names say the contrary for every speaker."""
    brightness: dict[tuple[str | None, str | None], list[float]] = defaultdict(list)
    for u in read_korean_speech(shared_corpora / "ko_emotional_speech", Report()):
        if u.emotion in ("angry", "sad") and u.audio:
            power = np.square(np.abs(np.fft.rfft(samples := decode(u.audio.read_bytes()).samples)))
            hertz = np.fft.rfftfreq(len(samples), 1 / 16_000)
            above, below = power[hertz > 1000].sum(), power[(hertz > 80) & (hertz < 1000)].sum()
            brightness[u.speaker, u.emotion].append(10 * np.log10(above / below))
    speakers = {speaker for speaker, _ in brightness}
    assert len(speakers) == 10
    for speaker in speakers:
        assert np.mean(brightness[speaker, "angry"]) > np.mean(brightness[speaker, "sad"]), speaker
