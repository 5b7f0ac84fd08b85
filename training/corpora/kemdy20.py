"""KEMDy20 as ETRI releases it: an annotation per session, a wav and a txt per utterance, and many irregularities.

Reads session by session, so that memory does not grow with the corpus. The biosignals are not read here.
"""

from collections.abc import Iterator
from pathlib import Path

from app.text import clean_transcript

from ..data.utterance import Utterance
from .files import BrokenFileError, duration_s, read_text
from .kemdy20_annotation import Annotation, Choices, label_of, read_annotations
from .kemdy20_release import ANNOTATION, RECORDINGS, annotation_files, find_release, recording_files, recording_folders
from .splits import FOLDS, SESSIONS_PER_FOLD, fold_of, session_split
from .tally import Report

CORPUS = "kemdy20"
_PUBLISHED = Choices()


def read_kemdy20(source: Path, report: Report, choices: Choices = _PUBLISHED, *, fold: int = 0) -> Iterator[Utterance]:
    """The utterances of the corpus in `source`, in the order of the annotation, split by session, with `fold` as test.

    An utterance without wav or without txt keeps the other. Problems are named in `report` and do not stop the reading.
    Raises CorpusError where `source` is not this corpus, ValueError for a fold that is not 0..4.
    """
    root = find_release(source.resolve(), (ANNOTATION, RECORDINGS), "all")
    annotations, folders = annotation_files(root), recording_folders(root)
    for session in sorted(annotations.keys() | folders.keys()):
        if not 1 <= session <= FOLDS * SESSIONS_PER_FOLD:
            report.problem("unknown session", str(annotations.get(session) or folders[session]))
            continue
        files = recording_files(folders[session]) if session in folders else {}
        annotated: set[str] = set()
        rows = read_annotations(annotations[session], session, report) if session in annotations else ()
        for annotation in rows:
            if annotation.id in annotated:
                report.problem("annotated twice", annotation.id)
                continue
            annotated.add(annotation.id)
            utterance = _utterance(annotation, files.get(annotation.id, {}), choices, report)
            if utterance is not None:
                yield in_fold(utterance.model_copy(update={"session": f"Sess{session:02}"}), fold)
        for id_ in sorted(files.keys() - annotated):
            report.problem("files without annotation", id_)


def in_fold(utterance: Utterance, fold: int) -> Utterance:
    """An utterance of KEMDy20 with its split when `fold`, 0..4, is tested. Its own `fold` is the one that tests it.

    Raises ValueError for another fold, or for an utterance whose session is not Sess01..Sess40.
    """
    session = int((utterance.session or "").removeprefix("Sess"))
    return utterance.model_copy(update={"fold": fold_of(session), "split": session_split(session, fold)})


def _utterance(annotation: Annotation, files: dict[str, Path], choices: Choices, report: Report) -> Utterance | None:
    id_ = annotation.id
    if not files:
        report.problem("annotation without files", id_)
        return None
    audio, seconds = _audio(id_, files.get(".wav"), report)
    raw = _transcript(id_, files.get(".txt"), report)
    label = label_of(annotation, choices, report)
    if label is None or (audio is None and raw is None):
        return None
    transcript = clean_transcript(raw) if raw else ""
    if raw and not transcript.strip():
        report.leave_out("transcript of tags alone", id_)
    return Utterance(
        id=id_,
        corpus=CORPUS,
        speaker=annotation.speaker,
        gender=annotation.gender,
        audio=audio,
        transcript=transcript if transcript.strip() else None,
        raw_transcript=raw,
        emotion=label.emotion,
        votes=label.votes,
        arousal=annotation.arousal,
        valence=annotation.valence,
        duration_s=seconds,
    )


def _audio(id_: str, path: Path | None, report: Report) -> tuple[Path | None, float | None]:
    if path is None:
        report.problem("missing wav", id_)
        return None, None
    try:
        return path, duration_s(path)
    except BrokenFileError as error:
        report.problem("undecodable", str(error))
        return None, None


def _transcript(id_: str, path: Path | None, report: Report) -> str | None:
    if path is None:
        report.problem("missing text", id_)
        return None
    try:
        raw = read_text(path).strip()
    except BrokenFileError as error:
        report.problem("undecodable", str(error))
        return None
    if not raw:
        report.problem("empty text", id_)
    return raw or None
