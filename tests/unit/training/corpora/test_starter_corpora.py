"""The rules of the starter's corpora, on miniature copies of them; the real ones where they are there."""

import gzip
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.audio.decode import decode
from training.corpora.kote import read_kote
from training.corpora.nsmc import read_reviews
from training.corpora.report import CorpusError, Report
from training.corpora.speech import read_korean_speech


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


def write_reviews(tmp_path: Path, rows: list[str]) -> Path:
    folder = tmp_path / "nsmc_ratings"
    folder.mkdir(parents=True)
    with gzip.open(folder / "reviews.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    return folder


def test_korean_speakers_train_unless_they_test_and_only_these_have_transcripts(korean: Path) -> None:
    utterances = {
        utterance.speaker: utterance for utterance in read_korean_speech(korean, Report(), test=["emg", "nem"])
    }
    assert {speaker for speaker, utterance in utterances.items() if utterance.split == "test"} == {"emg", "nem"}
    assert {utterance.split for utterance in read_korean_speech(korean, Report())} == {"train"}
    for utterance in utterances.values():
        words = "힘내세요." if utterance.split == "test" else None
        assert (utterance.transcript, utterance.raw_transcript) == (words, words)
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


def test_reviews_hold_out_whole_films_and_keep_the_ratings_as_they_come(tmp_path: Path) -> None:
    rows = [
        f'{film * 100 + number}\tfilm{film}\t{10 if number % 2 else 1 + number % 10}\t"감상 {film} {number}'
        for film in range(40)
        for number in range(20)
    ]
    folder = write_reviews(tmp_path, rows)
    utterances = list(read_reviews(folder, Report(), train=120, validation=30, test=90))
    assert Counter(utterance.split for utterance in utterances) == {"test": 90, "validation": 30, "train": 120}
    films = {split: {u.session for u in utterances if u.split == split} for split in ("train", "validation", "test")}
    assert not films["train"] & films["validation"] | films["train"] & films["test"]
    assert not films["validation"] & films["test"]
    # Half of the reviews rate 10, in each part.
    for split in ("train", "test"):
        ratings = [u.valence for u in utterances if u.split == split]
        assert 0.4 < ratings.count(5.0) / len(ratings) < 0.6
    assert {u.valence for u in utterances} == {1.0, 1.8889, 2.7778, 3.6667, 4.5556, 5.0}
    assert utterances == list(read_reviews(folder, Report(), train=120, validation=30, test=90))


def test_reviews_without_words_or_given_twice_are_left_out(tmp_path: Path) -> None:
    report = Report()
    folder = write_reviews(
        tmp_path, ["1\ta\t7\t최고", "2\tb\t9\t최고 ", "3\tb\t9\t", "4\tb\t9\tc/ n/", "5\tb\t1\t별로"]
    )
    utterances = list(read_reviews(folder, report))
    assert {utterance.id for utterance in utterances} == {"nsmc_ratings-1", "nsmc_ratings-5"}
    assert report.left_out == {"nsmc_ratings: no text": 2, "nsmc_ratings: the same text again": 1}


def test_a_review_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    folder = write_reviews(tmp_path, ["1\ta\t7\t최고", "2\tb\t11\t최악"])
    with pytest.raises(CorpusError, match="line 2: not review"):
        list(read_reviews(folder, Report()))


def test_kote_is_read_into_five_emotions(tmp_path: Path) -> None:
    folder = tmp_path / "kote"
    folder.mkdir()
    comments = "".join(f'{number}\t"정말 ""좋다"" {number}"\t42,40,5\n' for number in range(200))
    (folder / "val.tsv").write_text(comments + "900\t애매하다\t42,5\n902\t \t42\n", encoding="utf-8")
    (folder / "test.tsv").write_text("901\t사실이다\t24\n", encoding="utf-8")
    report = Report()
    utterances = list(read_kote(folder, report))
    assert report.left_out == {"kote: no text": 1}
    assert utterances[0].transcript == '정말 "좋다" 0'
    assert (utterances[0].emotion, utterances[0].votes) == ("happy", {"happy": 0.6667, "sad": 0.3333})
    splits = Counter(utterance.split for utterance in utterances)
    assert splits["test"] == 1
    assert 10 <= splits["validation"] <= 30
    assert utterances[-1].emotion == "neutral"
    assert utterances[0].tags == ("기쁨", "행복", "슬픔")
    (unclear,) = (utterance for utterance in utterances if utterance.id == "kote-900")
    assert (unclear.emotion, unclear.votes) == (None, {"happy": 0.5, "sad": 0.5})
    assert unclear.tags == ("기쁨", "슬픔")


def test_a_kote_comment_with_an_unknown_label_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "kote"
    folder.mkdir()
    (folder / "val.tsv").write_text("1\t글\t44\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"val\.tsv, comment 1"):
        list(read_kote(folder, Report()))


def test_the_real_korean_speech_is_whole(shared_corpora: Path) -> None:
    report = Report()
    utterances = list(read_korean_speech(shared_corpora / "ko_emotional_speech", report))
    assert Counter(utterance.split for utterance in utterances) == {"train": 200}
    assert set(Counter(utterance.emotion for utterance in utterances).values()) == {50}
    assert not report.problems
    assert not [u for u in utterances if u.transcript or u.raw_transcript]


def test_the_real_kote_has_every_emotion_in_every_split(shared_corpora: Path) -> None:
    utterances = list(read_kote(shared_corpora / "kote", Report()))
    counts = Counter((utterance.split, utterance.emotion) for utterance in utterances)
    assert len(counts) == 18  # five emotions and none, in three splits
    assert counts["test", "neutral"] > 100
    assert counts["test", "surprise"] > 100


def test_real_angry_voices_are_brighter_than_sad_ones(shared_corpora: Path) -> None:
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
