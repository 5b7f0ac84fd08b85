"""`utterances.jsonl`: lines are read back as written, and a line that cannot be read is named."""

import json
import unicodedata
from pathlib import Path

import pytest

from training.data.utterance import UTTERANCES_FILE, Utterance, UtterancesError, read_utterances, write_utterances


def test_audio_is_relative_to_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "data" / UTTERANCES_FILE
    given = [Utterance(id="a", corpus="c", audio=Path("a.wav")), Utterance(id="b", corpus="c", transcript="좋아")]
    assert write_utterances(path, given) == 2
    first, second = read_utterances(path)
    assert first.audio == path.parent / "a.wav"
    assert second == given[1]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / UTTERANCES_FILE
    path.write_text('{"id": "a", "corpus": "c"}\n{"id": "b"}\n', encoding="utf-8")
    with pytest.raises(UtterancesError, match=r"utterances\.jsonl, line 2: .*\ncorpus"):
        list(read_utterances(path))


def test_an_older_folder_gets_a_sentence(tmp_path: Path) -> None:
    older = tmp_path / "manifest.jsonl"
    older.write_text('{"id": "a", "corpus": "c"}\n', encoding="utf-8")
    path = tmp_path / UTTERANCES_FILE
    with pytest.raises(UtterancesError) as caught:
        list(read_utterances(path))
    assert str(caught.value) == (
        f"{older} is now called utterances.jsonl: rename it, or run `maeum-train prepare` again."
    )
    older.rename(path)
    assert [utterance.id for utterance in read_utterances(path)] == ["a"]


def test_a_folder_with_neither_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UtterancesError, match=r"utterances\.jsonl cannot be read: No such file"):
        list(read_utterances(tmp_path / UTTERANCES_FILE))


def test_a_blank_transcript_is_none() -> None:
    """Corpora prepared by earlier releases can contain them."""
    assert Utterance(id="a", corpus="c", transcript=" ").transcript is None
    assert Utterance(id="a", corpus="c", transcript="").transcript is None


def test_a_transcript_is_as_serving_reads_it_whoever_wrote_the_line(tmp_path: Path) -> None:
    path = tmp_path / "utterances.jsonl"
    raw = unicodedata.normalize("NFD", "정말* c/ 좋아요\n")
    path.write_text(json.dumps({"id": "1", "corpus": "mine", "transcript": raw}), encoding="utf-8")
    (utterance,) = read_utterances(path)
    assert utterance.transcript == "정말 좋아요"
    assert Utterance(id="1", corpus="mine", transcript="\ufeff").transcript is None
