"""Makes a version folder of a run: checked graphs, `manifest.json`, `tokenizer.json`, `MODEL_CARD.md`.

A version appears whole or not at all.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from app.audio.decode import SAMPLE_RATE
from app.engine.load import load_model
from app.settings import Precision, Settings
from app.store.manifest import AudioInput, EmotionOutput, GraphName, Manifest, SpeechDetection, StoredFile, TextInput
from app.store.versions import MANIFEST_FILE

from ..config import SpeechConfig
from ..data.utterance import Utterance
from ..errors import TrainingError
from ..evaluation.calibration import calibrate
from ..evaluation.crossvalidation import CrossValidation
from ..evaluation.measure import evaluate
from ..features import HOP_LENGTH
from ..learning import lineage
from ..networks.files import (
    DETECTOR_FILE,
    DETECTOR_LICENSE,
    WEIGHTS_FILE,
    load_networks,
    save_detector,
    save_weights,
)
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE
from .card import CARD_FILE, card
from .fp16 import convert_fp16
from .int8 import quantise_int8
from .onnx import export_fp32
from .parity import Reference
from .shared_weights import share_weights


class ExportError(TrainingError):
    """A version that cannot be written; the message says why."""


@dataclass(frozen=True)
class Release:
    """Name, version, licence of the weights (SPDX), and `about`: training data and terms (Markdown).

    `training` replaces the run's configuration in the manifest's account of the training. A `crossvalidation` gives the
    calibration, and figures on speakers who are in the training data of the weights themselves.
    """

    name: str
    version: str
    license: str
    about: str = ""
    training: Mapping[str, object] | None = None
    crossvalidation: CrossValidation | None = None


def export(
    run: Path,
    store: Path,
    release: Release,
    precisions: Sequence[Precision],
    utterances: Sequence[Utterance] = (),
    weights: bool = False,
) -> Path:
    """Writes `store/name/version` and returns it. With `weights` it includes the file to fine-tune from, and the fp16
    graphs read their tensors there.

    With `utterances` the calibration is fitted on their validation split, and the graphs of the first precision are
    measured on their test split. Raises ExportError, RunError and ParityError.
    """
    target = new_version(store, release.name, release.version)
    lineage.check(run)
    networks = load_networks(run)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
        # Loading checks that a manifest's name and version are those of its folders, here too.
        staging = Path(scratch) / release.name / release.version
        staging.mkdir(parents=True)
        if weights:
            save_weights(staging / WEIGHTS_FILE, networks)
        manifest = _build(run, networks, staging, release, precisions)
        _finish(staging, manifest, release, precisions[0], utterances)
        staging.rename(target)
    return target


def new_version(store: Path, name: str, version: str) -> Path:
    """The folder for a new version. Raises ExportError where it exists."""
    target = store / name / version
    if target.exists():
        raise ExportError(f"{target} exists, and a version never changes. Choose another --version.")
    return target


def _build(run: Path, networks: Networks, folder: Path, release: Release, precisions: Sequence[Precision]) -> Manifest:
    """Graphs, tokenizer, and a manifest without calibration and figures.

    Weights to fine-tune from that lie in `folder` are listed too, and the fp16 graphs read them.
    """
    weights = folder / WEIGHTS_FILE
    fp32 = export_fp32(networks, folder)
    reference = Reference(networks)
    drifts: dict[Precision, dict[str, float]] = {"fp32": reference.check_fp32(fp32)}
    paths: dict[Precision, dict[GraphName, Path]] = {"fp32": fp32}
    if "int8" in precisions:
        paths["int8"] = quantise_int8(fp32, folder)
        drifts["int8"] = reference.check(paths["int8"], "int8")
    if "fp16" in precisions:
        paths["fp16"] = convert_fp16(fp32, folder, reference.beyond_float16(fp32))
        if weights.is_file():
            share_weights(paths["fp16"].values(), weights)
        drifts["fp16"] = reference.check(paths["fp16"], "fp16")
    shutil.copyfile(run / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    (folder / CARD_FILE).write_text("In the making.\n", encoding="utf-8")
    if "fp32" not in precisions:
        for path in fp32.values():
            path.unlink()
    config = networks.config
    return Manifest(
        name=release.name,
        version=release.version,
        created=date.today().isoformat(),
        preset=config.preset,
        semantics=config.semantics,
        license=release.license,
        width=networks.audio.width,
        scale=(1.0, 5.0),  # of the ratings in every corpus
        audio=AudioInput(
            sample_rate=SAMPLE_RATE,
            hop_length=HOP_LENGTH,
            max_frames=config.audio.max_frames,
            whole_clip=config.semantics == "original",
            speech=_speech(run, folder, config.audio.speech),
        ),
        text=TextInput(tokenizer=stored(folder / TOKENIZER_FILE), max_tokens=config.text.max_tokens),
        emotion=EmotionOutput(classes=config.emotion.classes, temperature=1.0),
        graphs={p: {name: stored(path) for name, path in paths[p].items()} for p in precisions},
        card=stored(folder / CARD_FILE),
        weights=stored(weights) if weights.is_file() else None,
        drift={p: {output: float(f"{value:.2g}") for output, value in drifts[p].items()} for p in precisions},
        training={
            "text_encoder": Path(config.text.encoder).name,
            **(config.train.model_dump() if release.training is None else release.training),
        },
    )


def _speech(run: Path, folder: Path, config: SpeechConfig | None) -> SpeechDetection | None:
    """How the version finds speech; copies the detector of the run into its `folder`."""
    if config is None:
        return None
    save_detector(folder, run / DETECTOR_FILE)
    return SpeechDetection(
        detector=stored(folder / DETECTOR_FILE), license=stored(folder / DETECTOR_LICENSE), least_s=config.least_s
    )


def _finish(
    folder: Path, manifest: Manifest, release: Release, precision: Precision, utterances: Sequence[Utterance]
) -> None:
    """Calibrates, measures the version, and writes the card and the manifest."""
    settings = Settings.load(
        model_store=folder.parents[1], model=f"{manifest.name}/{manifest.version}", precision=precision
    )
    _write_manifest(folder, manifest)
    crossed = release.crossvalidation
    if crossed or utterances:
        fitted = crossed.calibration if crossed else calibrate(load_model(settings), utterances)
        calibrated = {"temperature": fitted.temperatures, "uncertain_below": fitted.uncertain_below}
        emotion = manifest.emotion.model_copy(update=calibrated)
        manifest = manifest.model_copy(update={"emotion": emotion})
        _write_manifest(folder, manifest)
        figures = (crossed.figures if crossed else {}) | evaluate(load_model(settings), utterances)
        more = {"certainty": crossed.certainty, "precision_cost": crossed.precision_cost} if crossed else {}
        manifest = manifest.model_copy(update={"evaluation": {"precision": precision, **figures, **more}})
    (folder / CARD_FILE).write_text(card(manifest, release.about), encoding="utf-8")
    manifest = manifest.model_copy(update={"card": stored(folder / CARD_FILE)})
    _write_manifest(folder, manifest)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def stored(path: Path) -> StoredFile:
    """A file with its size and digest."""
    data = path.read_bytes()
    return StoredFile(file=path.name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
