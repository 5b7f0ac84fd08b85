"""The annotation alone, without asking for the recordings: who was rated, and what the label is."""

from pathlib import Path

from ..corpora.kemdy20_annotation import (
    Annotation,
    Choices,
    label_of,
    read_annotations,
)
from ..corpora.kemdy20_release import annotation_files
from ..corpora.tally import Report

PUBLISHED = Choices(ties="drop", classes=5)
"""The labels that the published figures are of."""


def read_annotated(root: Path, report: Report) -> dict[int, dict[str, Annotation]]:
    """By session and utterance id. What cannot be read is named in `report`; an utterance's second row is not used."""
    annotated: dict[int, dict[str, Annotation]] = {}
    for session, path in annotation_files(root).items():
        rows = annotated.setdefault(session, {})
        for annotation in read_annotations(path, session, report):
            if annotation.id in rows:
                report.problem("annotated twice", annotation.id)
            rows.setdefault(annotation.id, annotation)
    return annotated


def labelled(annotated: dict[int, dict[str, Annotation]], report: Report) -> list[tuple[Annotation, str]]:
    """The utterances with one of the five emotions, each with it. Ties and other emotions are left out, which `report`
    then says."""
    labels = (
        (annotation, label_of(annotation, PUBLISHED, report))
        for rows in annotated.values()
        for annotation in rows.values()
    )
    return [(annotation, label.emotion) for annotation, label in labels if label is not None and label.emotion]
