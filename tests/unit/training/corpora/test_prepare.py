"""`maeum-train prepare` as its user meets it."""

import argparse
import json
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.support.synthetic_kemdy20 import write_tree
from training.corpora.prepare import add_arguments, run
from training.data.utterance import read_utterances


def prepare(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


def test_kemdy20_becomes_utterances_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write_tree(tmp_path)
    output = tmp_path / "data"
    assert prepare("kemdy20", "--source", tree.root, "--output", output) == 0

    utterances = list(read_utterances(output / "utterances.jsonl"))
    assert Counter(utterance.split for utterance in utterances) == {"test": 16, "validation": 17, "train": 34}
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["utterances"] == len(utterances)
    assert report["by_split"] == {"test": 16, "validation": 17, "train": 34}
    assert report["by_emotion"] == Counter(utterance.emotion for utterance in utterances)
    assert report["corpora"]["kemdy20"]["by_session"] == {"Sess01": 16, "Sess09": 17, "Sess17": 17, "Sess25": 17}
    assert report["problems"]["missing wav"] == {"count": 1, "names": tree.missing_wav}
    assert report["left_out"]["tie"] == {"count": 4, "names": tree.ties}
    assert sorted(path.name for path in output.iterdir()) == ["report.json", "utterances.jsonl"]

    summary = capsys.readouterr().out
    assert "67 utterances" in summary
    assert f"problem: missing wav: 1 ({tree.missing_wav[0]})" in summary


def test_strict_fails_on_problems_but_not_on_choices(tmp_path: Path) -> None:
    broken = write_tree(tmp_path / "broken")
    clean = write_tree(tmp_path / "clean", quirks=False, utterances_per_session=5)
    for choices in ([], ["--ties", "soft", "--classes", "7"]):
        assert prepare("kemdy20", "--source", broken.root, "--output", tmp_path / "a", "--strict", *choices) == 1
        assert prepare("kemdy20", "--source", clean.root, "--output", tmp_path / "b", "--strict", *choices) == 0
    assert (tmp_path / "a" / "utterances.jsonl").exists()


def test_the_published_split_is_over_utterances(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, quirks=False, utterances_per_session=25)
    output = tmp_path / "data"
    assert prepare("kemdy20", "--source", tree.root, "--output", output, "--split", "original") == 0
    utterances = list(read_utterances(output / "utterances.jsonl"))
    assert Counter(utterance.split for utterance in utterances) == {"train": 72, "validation": 8, "test": 20}
    assert all(utterance.fold is None for utterance in utterances)
    assert sorted(path.name for path in output.iterdir()) == ["report.json", "utterances.jsonl"]


def test_another_fold_tests_other_sessions(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, quirks=False, utterances_per_session=5)
    prepare("kemdy20", "--source", tree.root, "--output", tmp_path / "data", "--fold", "2")
    splits = {
        utterance.session: utterance.split for utterance in read_utterances(tmp_path / "data" / "utterances.jsonl")
    }
    assert splits == {"Sess01": "train", "Sess09": "train", "Sess17": "test", "Sess25": "validation"}


def test_a_table_becomes_utterances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("transcript,emotion\n좋아요,happy\n싫어요,hate\n", encoding="utf-8")
    assert prepare("csv", "--source", table, "--output", tmp_path / "data") == 0
    (utterance,) = read_utterances(tmp_path / "data" / "utterances.jsonl")
    assert (utterance.transcript, utterance.emotion) == ("좋아요", "happy")
    summary = capsys.readouterr().out
    assert "mine.csv, line 3: emotion 'hate' is none of" in summary
    assert "note: nothing in test" in summary


def test_nothing_usable_is_an_error_and_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("transcript,emotion\n싫어요,hate\n", encoding="utf-8")
    assert prepare("csv", "--source", table, "--output", tmp_path / "data") == 2
    assert "line 2: emotion 'hate'" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_the_wrong_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("kemdy20", "--source", tmp_path, "--output", tmp_path / "data") == 2
    assert "is not KEMDy20" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write_tree(tmp_path, quirks=False, utterances_per_session=5)
    (tmp_path / "data").write_text("", encoding="utf-8")
    assert prepare("kemdy20", "--source", tree.root, "--output", tmp_path / "data") == 2
    assert str(tmp_path / "data") in capsys.readouterr().err


def test_older_utterances_survive_a_failed_preparation(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, quirks=False, utterances_per_session=5)
    output = tmp_path / "data"
    prepare("kemdy20", "--source", tree.root, "--output", output)
    before = (output / "utterances.jsonl").read_bytes()
    assert prepare("kemdy20", "--source", tmp_path / "nowhere", "--output", output) == 2
    assert (output / "utterances.jsonl").read_bytes() == before


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    peaks = []
    for sessions in (range(1, 3), range(1, 21)):
        tree = write_tree(
            tmp_path / str(len(sessions)), sessions, utterances_per_session=30, quirks=False, duration_s=0.02
        )
        tracemalloc.start()
        prepare("kemdy20", "--source", tree.root, "--output", tmp_path / "data", "--split", "original")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
