"""All results of the command, and their JSON."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from ..corpora.kemdy20_annotation import Annotation
from ..corpora.kemdy20_release import ANNOTATION, SIGNALS, find_release
from ..corpora.tally import Report
from . import conclusions
from .annotated import labelled, read_annotated
from .clusters import Clustering, cluster
from .emotions import Comparison, compare
from .published import MEANS, WELCH
from .shapes import MIN_SAMPLES, POINTS
from .survey import Survey, survey

LIBRARIES = ("dtaidistance", "scikit-learn", "scipy", "numpy")


@dataclass(frozen=True)
class Results:
    """`corpus`: the name of the release's folder. `annotated`: by session and utterance id. `report`: unreadable files
    and rows, and everything left out."""

    corpus: str
    annotated: dict[int, dict[str, Annotation]]
    survey: Survey
    clustering: Clustering
    comparisons: list[Comparison]
    report: Report


def analyse(source: Path, sample: int, seed: int) -> Results:
    """Reads the corpus in `source` and computes all results. Raises CorpusError if it is not KEMDy20."""
    root = find_release(source, (ANNOTATION, *SIGNALS), "one")
    report = Report()
    annotated = read_annotated(root, report)
    utterances = labelled(annotated, report)
    found = survey(root, report)
    emotions = {annotation.id: emotion for annotation, emotion in utterances}
    return Results(
        corpus=root.resolve().name,
        annotated=annotated,
        survey=found,
        clustering=cluster(found.shapes, emotions, sample, seed),
        comparisons=[
            compare("arousal", [(emotion, one.arousal) for one, emotion in utterances if one.arousal is not None]),
            compare("valence", [(emotion, one.valence) for one, emotion in utterances if one.valence is not None]),
        ],
        report=report,
    )


def as_json(results: Results) -> dict[str, object]:
    """All figures, unrounded where they are statistics; seconds, °C, shares 0..1."""
    written = results.report.as_json()
    return {
        "corpus": results.corpus,
        "libraries": {name: version(name) for name in LIBRARIES},
        "conclusions": {
            "completeness": conclusions.on_completeness(results.survey.completeness, results.annotated),
            "temperature": conclusions.on_clusters(results.clustering),
            "emotions": {one.dimension: conclusions.on_emotions(one) for one in results.comparisons},
        },
        "completeness": _completeness(results),
        "temperature": _clustering(results.clustering, results.survey.unit),
        "emotions": {one.dimension: _comparison(one) for one in results.comparisons},
        "problems": written["problems"],
        "left_out": written["left_out"],
    }


def _completeness(results: Results) -> dict[str, dict[str, object]]:
    sessions: dict[str, dict[str, object]] = {}
    for one in results.survey.completeness:
        signals = sessions.setdefault(f"Sess{one.session:02}", {})
        signals[one.signal] = one.as_json(results.annotated.get(one.session, {}))
    return sessions


def _clustering(clustering: Clustering, unit: str) -> dict[str, object]:
    best = clustering.best
    return {
        "unit": unit,
        "segments": clustering.segments,
        "sampled": clustering.sampled,
        "seed": clustering.seed,
        "min_samples": MIN_SAMPLES,
        "points": POINTS,
        "median_range_c": clustering.median_range_c,
        "best_k": None if best is None else best.k,
        "scores": [asdict(score) for score in clustering.scores],
    }


def _comparison(comparison: Comparison) -> dict[str, object]:
    f, p = WELCH[comparison.dimension]
    return {**asdict(comparison), "published": {"means": MEANS[comparison.dimension], "welch_f": f, "welch_p": p}}
