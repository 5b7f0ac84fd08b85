import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.corpora.table import read_table
from training.corpora.tally import CorpusError, Report
from training.data.utterance import Utterance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for name in "ab":
        soundfile.write(tmp_path / "clips" / f"{name}.wav", np.zeros(8_000), 16_000)
    return tmp_path


def read(folder: Path, text: str, encoding: str = "utf-8", classes: int = 5) -> tuple[list[Utterance], Report]:
    path = folder / "mine.csv"
    path.write_text(text, encoding=encoding)
    report = Report()
    return list(read_table(path, report, classes=classes)), report  # type: ignore[arg-type]


def problems(folder: Path, text: str) -> list[str]:
    return read(folder, text)[1].problems["unusable row"]


def test_every_column_is_read(folder: Path) -> None:
    (utterance,), report = read(
        folder,
        "id,audio,transcript,emotion,arousal,valence,speaker,gender,session,split\n"
        "x1,clips/a.wav,정말 c/ 좋아요,Happiness,3.5,4.5,김,여성,s1,dev\n",
    )
    assert utterance == Utterance(
        id="x1",
        corpus="mine",
        audio=folder / "clips" / "a.wav",
        transcript="정말 좋아요",
        raw_transcript="정말 c/ 좋아요",
        emotion="happy",
        arousal=3.5,
        valence=4.5,
        speaker="김",
        gender="female",
        session="s1",
        split="validation",
        duration_s=0.5,
    )
    assert not report.problems


def test_only_one_input_and_one_target_are_needed(folder: Path) -> None:
    (utterance,), _ = read(folder, "transcript\tvalence\n그저 그래요\t3\n")
    assert (utterance.id, utterance.transcript, utterance.valence) == ("mine-2", "그저 그래요", 3.0)
    assert utterance.audio is None
    assert utterance.emotion is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_encodings_that_spreadsheets_write(folder: Path, encoding: str) -> None:
    (utterance,), _ = read(folder, 'transcript,emotion\r\n"슬퍼요, 정말",sad\r\n', encoding)
    assert utterance.transcript == "슬퍼요, 정말"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("clips/none.wav,네,happy,3,u", "none.wav: no such file"),
        ("mine.csv,네,happy,3,u", "mine.csv: This is not a known audio format"),
        ("clips/a.wav,네,happpy,3,u", "emotion 'happpy' is none of neutral, sad, happy"),
        ("clips/a.wav,네,happy,7,u", "arousal '7' is not a number from 1 to 5"),
        ("clips/a.wav,네,happy,high,u", "arousal 'high' is not a number from 1 to 5"),
        (",,happy,3,u", "neither audio nor transcript"),
        ("clips/a.wav,네,,,u", "neither emotion nor arousal nor valence"),
        ("clips/a.wav,네, 아니요,happy,3,u", "more cells than the header has"),
    ],
)
def test_an_unusable_row_is_named_by_its_line_and_skipped(folder: Path, row: str, message: str) -> None:
    text = f"audio,transcript,emotion,arousal,speaker\nclips/b.wav,네,sad,2,v\n\n{row}\n"
    utterances, report = read(folder, text)
    (problem,) = report.problems["unusable row"]
    assert problem.startswith("mine.csv, line 4: ")
    assert message in problem
    assert [utterance.emotion for utterance in utterances] == ["sad"]


def test_an_unknown_split_or_an_id_given_twice_is_named(folder: Path) -> None:
    text = "id,transcript,emotion,split\nx,네,sad,holdout\ny,네,sad,test\ny,네,sad,test\n"
    assert problems(folder, text) == [
        "mine.csv, line 2: split 'holdout' is none of train, validation, valid, val, dev, test",
        "mine.csv, line 4: id y is used before",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header needs one of audio, transcript .*has nothing"),
        ("file,label\na.wav,happy\n", "has file, label"),
        ("transcript,emotion,emotion\n네,sad,sad\n", "line 1: the header has emotion more than once"),
    ],
)
def test_a_table_that_is_none_is_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(folder, text)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not there"):
        list(read_table(tmp_path / "mine.csv", Report()))


def test_columns_that_are_not_read_are_reported(folder: Path) -> None:
    _, report = read(folder, "transcript,emotion,Note,emotoin\n네,sad,x,y\n")
    assert report.left_out_names["column not read"] == ["note", "emotoin"]


def test_without_a_split_the_speakers_are_kept_apart(folder: Path) -> None:
    rows = "".join(f"네 {number},sad,speaker{number % 20}\n" for number in range(200))
    utterances, _ = read(folder, f"transcript,emotion,speaker\n{rows}")
    splits: dict[str | None, set[str]] = {}
    for utterance in utterances:
        splits.setdefault(utterance.speaker, set()).add(utterance.split)
    assert all(len(seen) == 1 for seen in splits.values())
    by_split = [next(iter(seen)) for seen in splits.values()]
    assert (by_split.count("train"), by_split.count("validation"), by_split.count("test")) == (16, 2, 2)


def test_fear_needs_seven_classes(folder: Path) -> None:
    text = "transcript,emotion\n무서워요,fear\n네,sad\n"
    utterances, report = read(folder, text)
    assert [utterance.emotion for utterance in utterances] == ["sad"]
    assert report.left_out_names["class fear"] == ["mine-2"]
    assert len(read(folder, text, classes=7)[0]) == 2


def test_a_transcript_of_tags_alone_is_none(folder: Path) -> None:
    (utterance,), report = read(folder, "audio,transcript,emotion\nclips/a.wav,n/ b/,sad\n,u/,sad\n")
    assert (utterance.transcript, utterance.raw_transcript) == (None, "n/ b/")
    assert report.left_out == {"transcript of tags alone": 1}
    assert report.problems["unusable row"] == ["mine.csv, line 3: no audio, and a transcript of tags alone"]


def test_a_split_is_drawn_over_the_rows_that_can_be_used(folder: Path) -> None:
    """Where the speaker drawn for a split has no usable row, another is drawn."""
    rows = [f"{speaker},좋아요,happy" for speaker in ("가", "나", "다", "라")]
    whole, _ = read(folder, "\n".join(["speaker,transcript,emotion", *rows, ""]))
    for split in ("test", "validation"):
        (out,) = (u.speaker for u in whole if u.split == split)
        broken = [row.replace("happy", "none") if row.startswith(str(out)) else row for row in rows]
        found, _ = read(folder, "\n".join(["speaker,transcript,emotion", *broken, ""]))
        assert sorted(u.split for u in found) == ["test", "train", "validation"]


def test_names_are_one_however_their_letters_are_composed(folder: Path) -> None:
    """Files too: a table from a spreadsheet, and recordings from a Mac."""
    decomposed = unicodedata.normalize("NFD", "녹음/김철수.wav")
    (folder / decomposed).parent.mkdir()
    soundfile.write(folder / decomposed, np.zeros(8_000), 16_000)
    row = "녹음/김철수.wav,네,sad,김철수,남\n"
    header = "audio,transcript,emotion,speaker,gender\n"
    utterances, report = read(folder, header + row + unicodedata.normalize("NFD", row))
    assert not report.problems
    assert [utterance.audio for utterance in utterances] == [folder / decomposed] * 2
    assert {utterance.speaker for utterance in utterances} == {"김철수"}
    assert [utterance.gender for utterance in utterances] == ["male"] * 2


def test_a_file_that_serving_refuses_is_an_unusable_row(folder: Path) -> None:
    soundfile.write(folder / "clips" / "mac.aiff", np.zeros(8_000), 16_000)
    (problem,) = problems(folder, "audio,emotion\nclips/mac.aiff,sad\nclips/a.wav,sad\n")
    assert problem.startswith(f"mine.csv, line 2: {folder}/clips/mac.aiff: This looks like AIFF.")


def test_transcripts_are_kept_and_read_as_serving_reads_them(folder: Path) -> None:
    raw = unicodedata.normalize("NFD", "정말* 좋아요")
    (utterance,), _ = read(folder, f'transcript,emotion\n"{raw}\u200b",happy\n\u200b\ufeff,sad\n')
    assert utterance.transcript == "정말 좋아요" and utterance.raw_transcript == raw + "\u200b"
