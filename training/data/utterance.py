"""One utterance of a corpus, as a line of `utterances.jsonl`, which every stage of training reads.

A field that a corpus does not have is null. A stage uses the utterances that have what it needs.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.text import clean_transcript

from ..errors import TrainingError

UTTERANCES_FILE = "utterances.jsonl"
OLDER_FILE = "manifest.jsonl"  # the same lines under the name that `prepare` gave them first

Split = Literal["train", "validation", "test"]


class Utterance(BaseModel):
    """One utterance and its labels. `audio` is absolute, or relative to the folder of `utterances.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    corpus: str
    session: str | None = Field(
        default=None, description="The recording session, or the corpus's own unit: a script, a film"
    )
    speaker: str | None = None
    gender: Literal["female", "male"] | None = None
    audio: Path | None = None
    transcript: str | None = Field(default=None, description="Cleaned by app.text")
    raw_transcript: str | None = Field(default=None, description="As the corpus has it")
    emotion: str | None = None
    votes: dict[str, float] | None = Field(
        default=None, description="Share of the raters by emotion; the label where `emotion` is null"
    )
    tags: tuple[str, ...] | None = Field(
        default=None, description="Every label of the corpus, under its own name: finer than `emotion`"
    )
    arousal: float | None = Field(default=None, ge=1, le=5)
    valence: float | None = Field(default=None, ge=1, le=5)
    duration_s: float | None = None
    fold: int | None = None
    split: Split = "train"

    @field_validator("transcript")
    @classmethod
    def _as_serving_reads_it(cls, value: str | None) -> str | None:
        """Whoever wrote the line: a hand-made one, and one from before, may hold text that serving would clean."""
        return clean_transcript(value) or None if value else None


class UtterancesError(TrainingError):
    """An `utterances.jsonl` that cannot be read; the message names the file and the line."""


def read_utterances(path: Path) -> Iterator[Utterance]:
    """Yields the utterances of the file `path` with `audio` made absolute. Raises UtterancesError."""
    try:
        lines = path.open(encoding="utf-8")
    except OSError as error:
        older = path.with_name(OLDER_FILE)
        if not path.exists() and older.is_file():
            raise UtterancesError(
                f"{older} is now called {path.name}: rename it, or run `maeum-train prepare` again."
            ) from error
        raise UtterancesError(f"{path} cannot be read: {error.strerror}") from error
    with lines:
        for number, line in enumerate(lines, start=1):
            try:
                utterance = Utterance.model_validate_json(line)
            except ValidationError as error:
                raise UtterancesError(f"{path}, line {number}: {error}") from error
            if utterance.audio is not None:
                utterance = utterance.model_copy(update={"audio": path.parent / utterance.audio})
            yield utterance


def write_utterances(path: Path, utterances: Iterable[Utterance]) -> int:
    """Writes one utterance per line to `path` and returns their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for utterance in utterances:
            file.write(utterance.model_dump_json(exclude_none=True) + "\n")
            count += 1
    return count
