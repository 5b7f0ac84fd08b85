"""Clusters are found where there are some, and not claimed where there are none."""

from pathlib import Path

import numpy as np
import pytest

from training.biosignals.clusters import CLUSTERS, cluster
from training.biosignals.conclusions import on_clusters
from training.biosignals.e4 import Floats, Recording
from training.biosignals.shapes import POINTS, Shape, course, shapes, shuffled
from training.corpora.tally import Report

ID = "Sess42_script01_User034M_{:03}"


def recording(values: list[float], segments: list[str]) -> Recording:
    return Recording(Path("Sess17_x.csv"), "TEMP", np.array(values), np.arange(len(values)) / 4, segments, 4.0, 0)


def bumps(count: int, seed: int = 0) -> list[Shape]:
    """Segments of 8 to 60 samples that swell once or twice, in turn, over little noise."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        time = np.linspace(0, 1, int(rng.integers(8, 61)))
        values = 33 + np.sin((1 + number % 2) * np.pi * time) ** 2 + rng.normal(0, 0.01, len(time))
        found.append(Shape(f"s{number}", values))
    return found


def drifts(count: int, seed: int = 0) -> list[Shape]:
    """Random walks."""
    rng = np.random.default_rng(seed)
    return [Shape(f"s{n}", 33 + np.cumsum(rng.normal(0, 0.02, rng.integers(8, 61)))) for n in range(count)]


def test_every_marked_utterance_that_has_a_course_is_a_segment() -> None:
    marks = [(ID.format(1), 10), ("", 5), (ID.format(2), 7), (ID.format(3), 9)]
    values = [33 + 0.1 * n for n in range(10)] + [33.0] * 5 + [33.0, 34.0] * 3 + [33.0] + [35.0] * 9
    report = Report()
    found = list(shapes(recording(values, [id_ for id_, n in marks for _ in range(n)]), 17, "utterance", report))
    # The session's own number stands for the one that its files may write.
    assert [shape.id for shape in found] == ["Sess17_script01_User034M_001"]
    assert found[0].range_c == pytest.approx(0.9)
    assert report.left_out == {"TEMP segment under 8 samples": 1, "TEMP segment constant": 1}


def test_a_file_without_marks_is_one_segment() -> None:
    values = list(np.linspace(33, 34, 50))
    (shape,) = shapes(recording(values, [""] * 50), 17, "recording", Report())
    assert shape.id == "Sess17_x"
    assert len(shape.values) == 50


@pytest.mark.parametrize("samples", [8, 32, 500])
def test_a_course_keeps_the_shape_and_neither_level_nor_length(samples: int) -> None:
    ramp: Floats = np.linspace(31.0, 35.0, samples)
    assert course(ramp) == pytest.approx(np.linspace(0, 1, POINTS))


def test_shuffled_steps_keep_both_ends() -> None:
    values: Floats = np.array([33.0, 33.5, 33.1, 33.9, 33.2])
    mixed = shuffled(values, np.random.default_rng(2))
    assert (mixed[0], mixed[-1]) == (33.0, pytest.approx(33.2))
    assert sorted(np.diff(mixed)) == pytest.approx(sorted(np.diff(values)))
    assert mixed.tolist() != values.tolist()


def test_groups_are_found_whatever_the_length_of_their_segments() -> None:
    found = bumps(60)
    emotions = {shape.id: ("happy", "sad")[number % 2] for number, shape in enumerate(found)}
    clustering = cluster(found, emotions, sample=100, seed=1)
    best = clustering.best
    assert best is not None
    assert [score.k for score in clustering.scores] == list(CLUSTERS)
    assert (best.k, best.sizes) == (2, [30, 30])
    assert best.silhouette > 0.8
    assert best.silhouette > best.silhouette_shuffled + 0.3
    assert best.davies_bouldin < 0.5
    assert best.emotion_ami == pytest.approx(1)
    sentence = on_clusters(clustering)
    assert "more shape than drift alone" in sentence
    assert "The clusters go with the emotion" in sentence


def test_drift_is_not_called_groups() -> None:
    clustering = cluster(drifts(200), {f"s{n}": ("happy", "sad")[n % 2] for n in range(200)}, sample=200, seed=1)
    assert clustering.best is not None
    assert clustering.best.silhouette > 0.4
    sentence = on_clusters(clustering)
    assert "no groups are shown beyond those of any slow drift" in sentence
    assert "The clusters do not go with the emotion" in sentence


def test_the_sample_is_drawn_by_its_seed() -> None:
    found = drifts(60)
    first, again, other = (cluster(found, {}, sample=20, seed=seed) for seed in (1, 1, 2))
    assert (first.segments, first.sampled) == (60, 20)
    assert first.scores == again.scores
    assert first.scores != other.scores
    assert "is unknown: too few segments have a label" in on_clusters(first)


@pytest.mark.parametrize("count", [0, 10])
def test_too_few_segments_conclude_nothing(count: int) -> None:
    clustering = cluster(drifts(count), {}, sample=100, seed=1)
    assert clustering.best is None
    assert on_clusters(clustering) == f"{count} segments of TEMP are too few to cluster, so nothing can be concluded."


def test_equal_segments_have_scores_all_the_same() -> None:
    same = [Shape(f"s{n}", np.array([33.0, 33.1] * 5)) for n in range(20)]
    scores = cluster(same, {}, sample=100, seed=1).scores
    assert np.isfinite([[score.silhouette, score.davies_bouldin] for score in scores]).all()
