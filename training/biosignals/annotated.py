"""The annotation alone, without the recordings: the rated utterances and their labels."""

from pathlib import Path

from ..corpora.kemdy20_annotation import Annotation, Choices, label_of, read_annotations
from ..corpora.kemdy20_release import annotation_files
from ..corpora.tally import Report

PUBLISHED = Choices(ties="drop", classes=5)
"""The choice of labels behind the published figures."""


def read_annotated(root: Path, report: Report) -> dict[int, dict[str, Annotation]]:
    """The rows by session and utterance id. `report` names unreadable rows and second rows of an utterance, which are
    not used."""
    annotated: dict[int, dict[str, Annotation]] = {}
    for session, path in annotation_files(root).items():
        rows = annotated.setdefault(session, {})
        for annotation in read_annotations(path, session, report):
            if annotation.id in rows:
                report.problem("annotated twice", annotation.id)
            rows.setdefault(annotation.id, annotation)
    return annotated


def labelled(annotated: dict[int, dict[str, Annotation]], report: Report) -> list[tuple[Annotation, str]]:
    """The utterances with one of the five emotions, paired with it. Ties and other emotions are left out; `report` has
    them."""
    labels = (
        (annotation, label_of(annotation, PUBLISHED, report))
        for rows in annotated.values()
        for annotation in rows.values()
    )
    return [(annotation, label.emotion) for annotation, label in labels if label is not None and label.emotion]
