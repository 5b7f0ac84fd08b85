"""Do the courses of skin temperature fall into groups? Clustering on DTW distances, k = 2..10, and its scores.

Distances: dynamic time warping without a band, on min-max scaled courses of one length (dtaidistance). Clusters:
agglomerative with average linkage, which needs distances only and has no random start (scikit-learn); from one draw of
segments to the next its silhouettes vary about half as much as those of complete linkage. The silhouette is on the DTW
distances. Davies-Bouldin needs vectors: it is on the courses themselves, [segments, POINTS], with Euclidean distance,
without warping.

Random drift alone gives two groups, rising and falling, with a high silhouette. So the same segments are also clustered
with their steps in random order, and only a higher score than that is structure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dtaidistance import dtw
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_mutual_info_score, davies_bouldin_score, silhouette_score

from .e4 import Floats
from .shapes import Shape, course, shuffled

CLUSTERS = range(2, 11)
MIN_SEGMENTS = CLUSTERS.stop
"""A silhouette needs more segments than clusters."""
MAX_SAMPLE = 5_000
"""12.5 million pairs, twice: about three minutes and 1 GB."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """The scores of `k` clusters.

    `silhouette` -1..1, and `silhouette_shuffled` for the steps in random order; `davies_bouldin` from 0, lower is
    better; `sizes`, largest first. `emotion_ami`: adjusted mutual information with the annotated emotion, 0 by chance
    and 1 for agreement, over the segments that have one; None where fewer than two emotions are annotated.
    """

    k: int
    silhouette: float
    silhouette_shuffled: float
    davies_bouldin: float
    sizes: list[int]
    emotion_ami: float | None


@dataclass(frozen=True)
class Clustering:
    """`segments` is their number, `sampled` the number clustered, drawn with `seed`. `scores` by k, empty if there were
    too few. `courses` [sampled, POINTS] and `labels` [sampled], 0..k-1, are those of the best silhouette."""

    segments: int
    sampled: int
    seed: int
    median_range_c: float | None
    scores: list[Score]
    courses: Floats
    labels: Labels

    @property
    def best(self) -> Score | None:
        """The score with the highest silhouette."""
        return max(self.scores, key=lambda score: score.silhouette, default=None)


def cluster(shapes: Sequence[Shape], emotions: Mapping[str, str], sample: int, seed: int) -> Clustering:
    """Clusters at most `sample` of `shapes`, drawn without replacement; `emotions` by segment id."""
    rng = np.random.default_rng(seed)
    drawn = list(shapes)
    if len(shapes) > sample:
        drawn = [shapes[index] for index in sorted(rng.choice(len(shapes), sample, replace=False))]
    courses = np.array([course(shape.values) for shape in drawn])
    range_c = float(np.median([shape.range_c for shape in shapes])) if shapes else None
    if len(drawn) < MIN_SEGMENTS:
        return Clustering(len(shapes), len(drawn), seed, range_c, [], courses, np.zeros(len(drawn), np.int64))

    distances = _distances(courses)
    reference = _distances(np.array([course(shuffled(shape.values, rng)) for shape in drawn]))
    named = [emotions.get(shape.id) for shape in drawn]
    labels = {k: _labels(distances, k) for k in CLUSTERS}
    scores = [
        Score(
            k,
            _silhouette(distances, labels[k]),
            _silhouette(reference, _labels(reference, k)),
            float(davies_bouldin_score(courses, labels[k])),
            sorted(np.bincount(labels[k]).tolist(), reverse=True),
            _agreement(labels[k], named),
        )
        for k in CLUSTERS
    ]
    best = max(scores, key=lambda score: score.silhouette)
    return Clustering(len(shapes), len(drawn), seed, range_c, scores, courses, labels[best.k])


def _distances(courses: Floats) -> Floats:
    """[segments, segments]: the root of the summed squared differences along the cheapest warping path of each pair."""
    distances: Floats = dtw.distance_matrix_fast(np.ascontiguousarray(courses), parallel=False)
    return distances


def _labels(distances: Floats, k: int) -> Labels:
    labels: Labels = AgglomerativeClustering(k, metric="precomputed", linkage="average").fit_predict(distances)
    return labels


def _silhouette(distances: Floats, labels: Labels) -> float:
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _agreement(labels: Labels, emotions: Sequence[str | None]) -> float | None:
    pairs = [(int(label), emotion) for label, emotion in zip(labels, emotions, strict=True) if emotion]
    if len({emotion for _, emotion in pairs}) < 2:
        return None
    return float(adjusted_mutual_info_score([emotion for _, emotion in pairs], [label for label, _ in pairs]))
