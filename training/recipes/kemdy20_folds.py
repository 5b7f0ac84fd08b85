"""Every fold of KEMDy20 in one command: train, export, evaluate, and join the figures of all folds."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from app.store.versions import load_manifest

from ..config import STAGES, Config
from ..corpora.kemdy20 import in_fold
from ..corpora.splits import FOLDS
from ..data.examples import DataError
from ..data.utterance import Utterance
from ..evaluation.folds import write_folds
from ..export.version import Release, export
from ..learning.run import train


def train_folds(
    config: Config, utterances: Sequence[Utterance], output: Path, accelerator: Accelerator, resume: bool = False
) -> Path:
    """Trains all stages for each fold, tests on the sessions held out from it, and returns the path of the report.

    The runs are in `output/fold0` and so on, their versions in `output/store`. Raises DataError where the utterances
    are not KEMDy20's.
    """
    figures = []
    for fold in range(FOLDS):
        try:
            split = [in_fold(utterance, fold) for utterance in utterances]
        except ValueError as error:
            raise DataError(f"Folds are made of KEMDy20's 40 sessions, and this is not KEMDy20: {error}.") from error
        run = output / f"fold{fold}"
        train(STAGES, config, split, run, accelerator, resume)
        if accelerator.is_main_process:
            release = Release("fold", f"{fold}.0.0", "LicenseRef-unstated")
            version = output / "store" / release.name / release.version
            shutil.rmtree(version, ignore_errors=True)  # an earlier run's
            export(run, output / "store", release, ["fp32"], split)
            measured = load_manifest(version).evaluation
            figures.append({name: found for name, found in measured.items() if isinstance(found, dict)})
        accelerator.wait_for_everyone()
    return write_folds(output, figures) if accelerator.is_main_process else output
