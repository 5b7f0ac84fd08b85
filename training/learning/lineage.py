"""What the stages of a run came from, so that networks that were never trained together do not become a version."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from ..config import STAGES, ConfigError, Stage
from ..networks.files import RunError, stage_file, weights_file

LINEAGE_FILE = "lineage.json"
SCRATCH = "scratch"
REGRESSORS: tuple[Stage, ...] = STAGES[:2]


class Lineage(BaseModel):
    """`origin`: SHA-256 of the weights that the run began from, or `scratch`. `embedded_by`: SHA-256 of the audio and
    text networks whose embeddings the classifier learned from; empty before it has learned.
    """

    origin: str
    embedded_by: dict[Stage, str] = {}


def origin_of(run: Path, init_from: Path | None, stages: Sequence[Stage]) -> str:
    """Where a training of `stages` begins. Raises ConfigError where stages that stay in the run came from elsewhere."""
    origin = SCRATCH if init_from is None else _digest(weights_file(init_from))
    before = _read(run)
    stay = [stage for stage in STAGES if stage not in stages and stage_file(run, stage).is_file()]
    if before is not None and stay and before.origin != origin:
        began = "from scratch" if before.origin == SCRATCH else "with --init-from a version"
        raise ConfigError(
            f"The {' and '.join(stay)} of {run} began {began}, and this command would begin elsewhere. Stages of a run "
            "share their origin: give the same --init-from, or another --output."
        )
    return origin


def begin(run: Path, origin: str) -> None:
    """Notes where the run begins."""
    before = _read(run)
    if before is None or before.origin != origin:
        _write(run, Lineage(origin=origin))


def begin_classifier(run: Path) -> None:
    """Notes the networks that embed for the classifier. One that learned from others goes, and its checkpoint."""
    lineage = _read(run)
    assert lineage is not None, "begin() comes first"
    embedded_by = _regressors(run)
    if lineage.embedded_by != embedded_by:
        for stale in (stage_file(run, "emotion"), run / "emotion.resume.pt"):
            stale.unlink(missing_ok=True)
    _write(run, lineage.model_copy(update={"embedded_by": embedded_by}))


def check(run: Path) -> None:
    """Raises RunError where the run's classifier learned from other networks than the run has now."""
    lineage = _read(run)
    if lineage is None:
        return
    now = _regressors(run)
    changed = [stage for stage in REGRESSORS if lineage.embedded_by.get(stage) != now.get(stage)]
    if changed:
        raise RunError(
            f"The classifier of {run} did not learn from the {' and '.join(changed)} network that the run has now; "
            f"`maeum-train train emotion --output {run}` trains it again."
        )


def _regressors(run: Path) -> dict[Stage, str]:
    files = {stage: stage_file(run, stage) for stage in REGRESSORS}
    return {stage: _digest(path) for stage, path in files.items() if path.is_file()}


def _read(run: Path) -> Lineage | None:
    path = run / LINEAGE_FILE
    return Lineage.model_validate_json(path.read_bytes()) if path.is_file() else None


def _write(run: Path, lineage: Lineage) -> None:
    (run / LINEAGE_FILE).write_text(lineage.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
