"""The sections of the HTML report: conclusion first, then the plot, then the figures."""

from collections.abc import Iterator

from .. import report as page
from ..corpora.kemdy20_release import SIGNALS
from . import conclusions, plots
from .emotions import Comparison, Outcome
from .published import MEANS, WELCH
from .results import Results
from .shapes import MIN_SAMPLES, POINTS


def html(results: Results) -> str:
    """The whole report as one page."""
    parts = [*_completeness(results), *_temperature(results), *_emotions(results), *_problems(results)]
    return page.page(f"Biosignals and labels of {results.corpus}", parts)


def _completeness(results: Results) -> Iterator[str]:
    measured = results.survey.completeness
    yield page.heading("Are the biosignals complete?")
    yield page.conclusion(conclusions.on_completeness(measured, results.annotated))
    if any(one.samples for one in measured):
        yield page.picture(plots.coverage(measured), "Share of the recorded time with samples, by session and signal")
    yield page.small(
        "Time with samples: a sample of EDA or TEMP represents one period of its rate, one of IBI its own interval. "
        "Gaps are counted between the first and the last sample of each file."
    )
    header = (
        "session",
        "signal",
        "status",
        "files",
        "broken",
        "samples",
        "seconds",
        "gaps",
        "gap seconds",
        "utterances",
        "of",
    )
    rows = []
    for one in measured:
        figures = one.as_json(results.annotated.get(one.session, {}))
        rows.append(
            (
                f"Sess{one.session:02}",
                one.signal,
                one.status,
                one.files,
                one.broken_files,
                one.samples,
                f"{one.seconds:,.0f}",
                one.gaps,
                f"{one.gap_s:,.0f}",
                figures["annotated_utterances_with_samples"],
                figures["annotated_utterances"],
            )
        )
    yield page.details(f"By session: {len(rows) // len(SIGNALS)} sessions", page.table("", header, rows))


def _temperature(results: Results) -> Iterator[str]:
    clustering = results.clustering
    yield page.heading("Does skin temperature fall into groups?")
    yield page.conclusion(conclusions.on_clusters(clustering))
    unit = "an utterance" if results.survey.unit == "utterance" else "a whole file, as none marks utterances"
    yield page.small(
        f"{clustering.segments:,} segments of TEMP, each {unit}, of {MIN_SAMPLES} samples or more and not constant; "
        f"{clustering.sampled:,} of them clustered (seed {clustering.seed}). Each is min-max scaled and brought "
        f"to {POINTS} points. Agglomerative clustering, average linkage, on DTW distances; the silhouette is on the "
        "same distances, Davies-Bouldin on the scaled courses with Euclidean distance."
    )
    if clustering.best is None:
        return
    yield page.picture(plots.scores(clustering), "Silhouette and Davies-Bouldin by number of clusters")
    header = ("k", "silhouette", "steps shuffled", "Davies-Bouldin", "agreement with emotion", "sizes")
    yield page.table(
        "",
        header,
        (
            (s.k, s.silhouette, s.silhouette_shuffled, s.davies_bouldin, s.emotion_ami, ", ".join(map(str, s.sizes)))
            for s in clustering.scores
        ),
    )
    yield page.heading(f"Courses at k = {clustering.best.k}", level=3)
    yield page.picture(plots.courses(clustering), "Median and quartiles of the scaled temperature in each cluster")


def _emotions(results: Results) -> Iterator[str]:
    yield page.heading("Do arousal and valence differ by emotion?")
    if not results.annotated:
        yield page.small("There is no annotation in this folder.")
    for comparison in results.comparisons:
        yield page.heading(comparison.dimension.capitalize(), level=3)
        yield page.conclusion(conclusions.on_emotions(comparison))
        if comparison.groups:
            yield from _comparison(comparison)
    yield page.small(conclusions.CAVEAT)


def _comparison(comparison: Comparison) -> Iterator[str]:
    images = [page.picture(plots.by_emotion(comparison), f"Mean {comparison.dimension} by emotion, and as published")]
    if comparison.pairs:
        images.append(page.picture(plots.pairs(comparison), f"Differences in mean {comparison.dimension}, by pair"))
    yield page.row(*images)
    means = MEANS[comparison.dimension]
    yield page.table(
        "",
        ("emotion", "n", "mean", "published mean", "difference", "standard deviation"),
        (
            (g.emotion, g.n, g.mean, means[g.emotion], f"{g.mean - means[g.emotion]:+.3f}", g.sd)
            for g in comparison.groups
        ),
    )
    if comparison.welch is None:
        return
    published_f, published_p = WELCH[comparison.dimension]
    yield page.table(
        "",
        ("test", "statistic", "degrees of freedom", "p", "effect"),
        [
            ("Levene, from the median", *_outcome(comparison.levene), None),
            ("Bartlett", *_outcome(comparison.bartlett), None),
            (
                "Welch ANOVA",
                *_outcome(comparison.welch),
                f"η² = {comparison.eta_squared:.3f}, ω² = {comparison.omega_squared:.3f}",
            ),
            ("Welch ANOVA, published", f"{published_f:.2f}", None, f"{published_p:.1e}", None),
        ],
    )
    pairs = page.table(
        "",
        ("pair", "difference", "95 % from", "to", "t", "degrees of freedom", "p", "Hedges' g"),
        (
            (
                f"{x.first} − {x.second}",
                x.difference,
                *x.interval,
                x.t,
                f"{x.df:.1f}",
                "< 0.001" if x.p < 0.001 else x.p,
                x.hedges_g,
            )
            for x in comparison.pairs
        ),
    )
    yield page.details(f"Games-Howell: {len(comparison.pairs)} pairs", pairs)


def _outcome(outcome: Outcome | None) -> tuple[str | None, str | None, str | None]:
    if outcome is None:
        return None, None, None
    df = (
        f"{outcome.df:.0f}"
        if outcome.df_error is None
        else f"{outcome.df:.0f}; {outcome.df_error:,.1f}".removesuffix(".0")
    )
    return f"{outcome.statistic:.2f}", df, _p(outcome.p)


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}" if p > 0 else "< 1e-300"


def _problems(results: Results) -> Iterator[str]:
    report = results.report
    yield page.heading("Problems and omissions")
    if not report.problems and not report.left_out:
        yield page.small("Everything was read, and nothing was left out.")
    for kind, names in sorted(report.problems.items()):
        yield page.details(f"Problem: {kind}: {len(names):,}", page.table("", ("name",), ([name] for name in names)))
    if report.left_out:
        yield page.table("", ("left out", "count"), sorted(report.left_out.items()))
