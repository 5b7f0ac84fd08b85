"""`maeum-train biosignals` as its user meets it."""

import argparse
import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthetic_kemdy20 import Tree, write_tree
from training.biosignals.command import add_arguments, run
from training.corpora.labels import CLASSES


def biosignals(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


def figures(output: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_tree(tmp_path_factory.mktemp("corpus"), biosignals=True)


@pytest.fixture(scope="module")
def output(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert biosignals("--source", tree.root.parent, "--output", folder) == 0
    return folder


def test_every_session_says_what_it_has(output: Path) -> None:
    sessions = figures(output)["completeness"]
    assert list(sessions) == ["Sess01", "Sess09", "Sess17", "Sess25"]
    statuses = [signals["EDA"]["status"] for signals in sessions.values()]
    assert statuses == ["present", "missing", "present", "present"]
    for name in ("Sess09", "Sess17"):
        assert sessions[name]["TEMP"] == {
            "status": "present",
            "files": 12,
            "broken_files": 0,
            "samples": 768,
            "seconds": 192.0,
            "gaps": 0,
            "gap_s": 0.0,
            "covered": 1.0,
            "marked_utterances": 20,
            "annotated_utterances": 20,
            "annotated_utterances_with_samples": 20,
        }
    for signals in sessions.values():
        assert signals["IBI"]["gap_s"] == pytest.approx(8 * signals["IBI"]["gaps"], rel=0.01)
        assert 0.3 < signals["IBI"]["covered"] < 0.7


def test_a_broken_file_is_named_counted_and_skipped(tree: Tree, output: Path) -> None:
    report = figures(output)
    (broken,) = tree.broken_biosignals
    assert report["problems"]["unreadable biosignal"]["count"] == 1
    assert str(broken) in report["problems"]["unreadable biosignal"]["names"][0]
    temperature = report["completeness"]["Sess01"]["TEMP"]
    assert (temperature["files"], temperature["broken_files"], temperature["status"]) == (12, 1, "present")
    assert temperature["annotated_utterances_with_samples"] < 20


def test_clusters_have_scores_for_every_k(output: Path) -> None:
    temperature = figures(output)["temperature"]
    assert temperature["unit"] == "utterance"
    assert temperature["segments"] == temperature["sampled"] == 78
    assert [score["k"] for score in temperature["scores"]] == list(range(2, 11))
    for score in temperature["scores"]:
        assert -1 <= score["silhouette"] <= 1
        assert score["davies_bouldin"] > 0
        assert sum(score["sizes"]) == 78


def test_labels_are_compared_with_the_published_means(tree: Tree, output: Path) -> None:
    report = figures(output)
    for dimension, widest in (("arousal", "happy above sad"), ("valence", "happy above angry")):
        comparison = report["emotions"][dimension]
        counts = {group["emotion"]: group["n"] for group in comparison["groups"]}
        assert counts == {emotion: len(tree.labelled(emotion)) for emotion in CLASSES[5]}
        assert comparison["welch"]["p"] < 0.001
        assert len(comparison["pairs"]) == 10
        assert widest in report["conclusions"]["emotions"][dimension]
        for group in comparison["groups"]:
            assert group["mean"] == pytest.approx(comparison["published"]["means"][group["emotion"]], abs=0.2)
    assert report["left_out"]["tie"]["count"] == 4


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and tag != "img"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_network_and_shows_each_part(output: Path) -> None:
    text = (output / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.links == []
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    assert len(page.images) == 7
    for image in page.images:
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        assert image["alt"]
    sentences = figures(output)["conclusions"]
    for sentence in (sentences["completeness"], sentences["temperature"], *sentences["emotions"].values()):
        assert sentence.replace("<", "&lt;") in text


def test_again_and_strictly_gives_the_same_report_and_says_what_is_wrong(
    tree: Tree, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert biosignals("--source", tree.root, "--output", tmp_path, "--sample", "1000", "--seed", "1", "--strict") == 1
    for name in ("report.json", "report.html"):
        assert (tmp_path / name).read_bytes() == (output / name).read_bytes()
    printed = capsys.readouterr().out
    assert "EDA is in 3 of 4 sessions (not in Sess09)" in printed
    assert "TEMP reaches 95% of both; the others would be missing too often to be inputs." in printed
    assert f"problem: unreadable biosignal: 1 ({tree.broken_biosignals[0]}: does not begin" in printed
    assert f"Written: {tmp_path}/report.html and report.json" in printed


def test_labels_without_biosignals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write_tree(tmp_path, utterances_per_session=3, quirks=False)
    assert biosignals("--source", tree.root, "--output", tmp_path / "out", "--strict") == 0
    report = figures(tmp_path / "out")
    assert "No sample of EDA, IBI or TEMP could be read" in report["conclusions"]["completeness"]
    assert "too few to cluster" in report["conclusions"]["temperature"]
    assert report["emotions"]["arousal"]["welch"]["df"] == 2
    assert report["problems"] == {}
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("<img") == 4


def test_biosignals_without_labels(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, biosignals=True)
    shutil.rmtree(tree.root / "annotation")
    assert biosignals("--source", tree.root, "--output", tmp_path / "out") == 0
    conclusions = figures(tmp_path / "out")["conclusions"]
    assert "Without an annotation the number of utterances covered is unknown" in conclusions["completeness"]
    assert "nothing can be tested" in conclusions["emotions"]["valence"]
    assert "There is no annotation in this folder." in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_files_that_mark_no_utterance_are_clustered_whole(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, utterances_per_session=3, quirks=False, biosignals=True)
    for path in tree.root.glob("TEMP/**/*.csv"):
        path.write_text(re.sub(r",Sess\w+", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert biosignals("--source", tree.root, "--output", tmp_path / "out") == 0
    temperature = figures(tmp_path / "out")["temperature"]
    assert (temperature["unit"], temperature["segments"]) == ("recording", 12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "is not there, or is not a folder"),
        (lambda folder: folder.mkdir(), "is not KEMDy20: it needs one of the folders annotation, EDA, IBI, TEMP"),
        (
            lambda folder: [(folder / name / "EDA").mkdir(parents=True) for name in ("KEMDy20_v1_1", "KEMDy20_v1_2")],
            "holds several releases, name one",
        ),
    ],
)
def test_a_folder_that_is_not_the_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, message: str
) -> None:
    source = tmp_path / "corpus"
    make(source)
    assert biosignals("--source", source, "--output", tmp_path / "out") == 2
    assert f"maeum-train biosignals: {source} {message}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize("number", ["10", "5001", "many", "-3"])
def test_a_sample_that_cannot_be(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        biosignals("--source", ".", "--output", ".", f"--sample={number}")
    assert f"'{number}' is not a whole number from 11 to 5000" in capsys.readouterr().err
