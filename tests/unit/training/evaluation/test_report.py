"""`maeum-train evaluate` writes figures, plots and one page that needs nothing else; folds are averaged."""

import argparse
import base64
import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Prediction
from app.engine.load import load_model
from app.settings import Settings
from tests.support.talk import rated_talk
from training.data.utterance import Utterance, read_utterances, write_utterances
from training.evaluation.answers import Answered, EvaluationError, model_input
from training.evaluation.command import add_arguments, run
from training.evaluation.folds import aggregate, fold_rows, write_folds
from training.evaluation.measure import Measurement, figures_of
from training.evaluation.plots import plot_scores
from training.evaluation.report import About, write_report
from training.report import note, table

CLASSES = ("neutral", "sad", "happy", "surprise", "angry")
PNG = b"\x89PNG\r\n\x1a\n"


def arguments(*given: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(value) for value in given])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, wav: bytes) -> Path:
    """A corpus of six rated speakers, of whom one trains too, and reviews without any label."""
    folder = tmp_path_factory.mktemp("talk")
    (folder / "a.wav").write_bytes(wav)
    talk = rated_talk(Path("a.wav"), ["test"] * 30 + ["train"])
    unlabelled = [Utterance(id=f"r{k}", corpus="reviews", transcript="고마워요", split="test") for k in range(4)]
    write_utterances(folder / "utterances.jsonl", [*talk, *unlabelled])
    return folder


@pytest.fixture(scope="module")
def output(data: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes."""
    folder = tmp_path_factory.mktemp("output") / "deep"
    command = ("starter", "--store", store, "--data", data, "--output", folder, "--precision", "fp32")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(arguments(*command)) == 0
    (folder / "printed.txt").write_text(printed.getvalue())
    return folder


def test_metrics_are_of_the_engines_predictions(output: Path, data: Path, store: Path) -> None:
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    model = load_model(Settings.load(model_store=store, model="starter", precision="fp32"))
    test = [u for u in read_utterances(data / "utterances.jsonl") if u.split == "test" and u.emotion]
    predicted = [p.probabilities for p in model.predict([model_input(model, u, "both") for u in test])]
    right = [
        np.argmax(probabilities) == CLASSES.index(u.emotion) for probabilities, u in zip(predicted, test, strict=True)
    ]
    assert metrics["figures"]["emotion of talk, both"]["accuracy"] == pytest.approx(np.mean(right), abs=1e-4)
    assert metrics["figures"].keys() == {
        *(f"emotion of talk, {available}" for available in ("audio", "text", "both")),
        *(f"{score} of talk" for score in ("arousal", "valence")),
    }
    assert metrics["model"] == "starter/0.1.0"
    assert (metrics["precision"], metrics["provider"], metrics["split"]) == ("fp32", "cpu", "test")
    assert (metrics["utterances"], metrics["judged"]) == (34, 30)
    emotions = {name: found["temperature"] for name, found in metrics["figures"].items() if "temperature" in found}
    assert list(emotions.items()) == [
        ("emotion of talk, audio", 2.0),
        ("emotion of talk, text", 0.75),
        ("emotion of talk, both", 1.5),
    ]


def test_every_plot_is_a_file_and_inside_the_page(output: Path) -> None:
    plots = {path.name: path.read_bytes() for path in output.glob("*.png")}
    assert plots.keys() == {f"talk_{name}.png" for name in ("confusion", "recall", "reliability", "arousal", "valence")}
    page = (output / "report.html").read_text(encoding="utf-8")
    embedded = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert sorted(embedded) == sorted(plots.values())
    assert all(image.startswith(PNG) for image in embedded)


def test_the_page_needs_no_network_and_says_how_far_it_can_be_trusted(output: Path) -> None:
    page = (output / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|url\(", page)
    assert "30 of its 34 utterances have labels to judge by; the other 4 are not counted" in page
    assert "1 of the 6 speakers here are in the other splits too" in page
    assert "Intervals are over 6 speakers" in page
    assert "always neutral" in page
    assert "women, audio alone" in page
    assert "Glossary" in page


def test_the_command_prints_a_line_a_measurement(output: Path) -> None:
    lines = (output / "printed.txt").read_text().splitlines()
    assert len(lines) == 5 + 1
    assert lines[0].startswith("emotion of talk, audio: n 30, UAR ")
    assert lines[-1] == f"Written: {output / 'report.html'}, metrics.json and the plots."


def test_nothing_to_judge_is_an_error(data: Path, store: Path, tmp_path: Path) -> None:
    command = ("starter", "--store", store, "--data", data, "--output", tmp_path / "x", "--split", "validation")
    with pytest.raises(EvaluationError, match="Of the 0 utterances in split validation"):
        run(arguments(*command))
    assert not (tmp_path / "x").exists()


def test_only_drawing_needs_matplotlib() -> None:
    code = "import sys, training.evaluation.measure, training.evaluation.command; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_report_of_a_sparse_corpus_with_an_odd_name(tmp_path: Path) -> None:
    """One class, never found; unrated clips; a corpus whose name is neither ASCII nor safe."""
    utterances = [Utterance(id=str(k), corpus="말 <b>/..", emotion=("sad", "angry")[k % 2]) for k in range(4)]
    predictions = [Prediction(3.0 + k / 10, None, (1.0, 0.0, 0.0, 0.0, 0.0)) for k in range(4)]
    answered = Answered(utterances, predictions)
    sad = answered.select(lambda u: u.emotion == "sad")
    measurements = [
        Measurement("emotion", "말 <b>/..", "audio", sad, CLASSES, 1.0),
        Measurement("arousal order", "말 <b>/..", "audio", answered, CLASSES, 1.0),
    ]
    figures = figures_of(measurements, utterances, "train")
    about = About("m/1.0.0", "int8", "cpu", "data", "train", "2026-01-01", 4, 4)
    page = write_report(tmp_path, about, measurements, figures).read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"말-b_{name}.png" for name in ("confusion", "recall", "reliability", "arousal")
    }
    assert "말 &lt;b&gt;/.." in page
    assert "<b>" not in page
    assert "Nobody rated the arousal of these clips" in page
    assert "This is the train split" in page


@pytest.mark.parametrize("values", [np.linspace(1, 5, 9), np.linspace(1, 5, 4001), np.array([3.0])])
def test_scores_are_drawn_whether_few_or_many(values: np.ndarray, tmp_path: Path) -> None:
    truth = np.repeat(values, 1 + 1000 // len(values))
    figure = plot_scores(truth, np.clip(truth * 0.5 + 1, 1, 5), "valence", (1.0, 5.0))
    figure.savefig(tmp_path / "x.png")
    line = next(line for line in figure.axes[0].lines if line.get_label() == "mean answer")
    means = np.asarray(line.get_ydata(), dtype=float)
    assert (np.diff(means) > 0).all()
    assert len(means) >= min(len(values), 30)


def test_the_page_escapes_its_text() -> None:
    assert note("a < b & c") == '<p class="note">a &lt; b &amp; c</p>'
    text = table("<", ["x", "<y>"], [["always", "<1>"], ["model", "2"]], baselines=(0,))
    assert "&lt;y&gt;" in text
    assert "&lt;1&gt;" in text
    assert text.count('<tr class="baseline">') == 1


FOLDS = [
    {
        "emotion of talk, both": {
            "n": 100,
            "resampled": "speakers",
            "uar": uar,
            "uar_95": [0.1, 0.9],
            "accuracy": 0.5,
            "weighted_f1": 0.5,
            "macro_f1": 0.5,
            "ece": 0.1,
            "baseline": {"always": "neutral", "uar": 0.2, "accuracy": 0.4},
            "recall": {"neutral": uar, **({"sad": 0.25} if uar < 0.5 else {})},
            "confusion": [[1, 2], [3, 4]],
        }
    }
    for uar in (0.3, 0.4, 0.8)
]


def test_folds_become_mean_and_deviation() -> None:
    figures = aggregate(FOLDS)["emotion of talk, both"]
    assert figures["uar"] == {"mean": 0.5, "sd": pytest.approx(0.2646, abs=1e-4), "folds": 3}
    assert figures["recall"]["sad"] == {"mean": 0.25, "sd": 0.0, "folds": 2}
    assert figures["baseline"] == {
        "uar": {"mean": 0.2, "sd": 0.0, "folds": 3},
        "accuracy": {"mean": 0.4, "sd": 0.0, "folds": 3},
    }
    assert not figures.keys() & {"uar_95", "confusion", "resampled"}


def test_one_fold_has_no_deviation_and_none_no_mean() -> None:
    alone = aggregate([*FOLDS[:1], {"valence of talk": {"n": 7, "ccc": 0.5}}])
    assert alone["emotion of talk, both"]["uar"] == {"mean": 0.3, "sd": None, "folds": 1}
    assert alone["valence of talk"]["ccc"] == {"mean": 0.5, "sd": None, "folds": 1}
    with pytest.raises(ValueError, match="no folds"):
        aggregate([])


def test_folds_as_a_table(tmp_path: Path) -> None:
    rows = fold_rows(aggregate(FOLDS), ("uar", "ece"))
    assert rows == [
        ["emotion of talk, both", "3", "300", "0.500 ± 0.265", "0.100 ± 0.000"],
        ["its baseline", "", "", "0.200 ± 0.000", "–"],
    ]
    assert fold_rows(aggregate(FOLDS), ("ccc",)) == []
    page = write_folds(tmp_path, FOLDS).read_text(encoding="utf-8")
    assert "<h1>3 folds</h1>" in page
    assert "0.500 ± 0.265" in page
    assert json.loads((tmp_path / "folds.json").read_text(encoding="utf-8")) == aggregate(FOLDS)
