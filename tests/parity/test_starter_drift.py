"""The shipped graphs drift from the shipped weights by what their manifest says, and no further."""

from pathlib import Path

import pytest

from app.settings import Precision, Settings
from app.store.manifest import Manifest
from app.store.versions import find_version, load_manifest
from training.export.parity import Reference
from training.networks.files import load_weights

FOLDER = find_version(Path(Settings.model_fields["model_store"].default), "starter")
ROUNDED = 1.1  # the manifest gives two digits, and processors add up in different orders


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(FOLDER)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(load_weights(FOLDER).eval())


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_drift_is_as_stated(manifest: Manifest, reference: Reference, precision: Precision) -> None:
    paths = {name: FOLDER / stored.file for name, stored in manifest.graphs[precision].items()}
    found = reference.drift(paths)
    assert set(found) == set(manifest.drift[precision])
    for output, difference in found.items():
        assert difference <= ROUNDED * manifest.drift[precision][output] + 1e-6, output


def test_an_answer_in_int8_moves_with_its_neighbours_by_less_than_its_drift(
    manifest: Manifest, reference: Reference
) -> None:
    paths = {name: FOLDER / stored.file for name, stored in manifest.graphs["int8"].items()}
    drift = manifest.drift["int8"]
    assert reference.neighbour_effect(paths) <= min(drift["arousal"], drift["valence"], drift["logits"])
