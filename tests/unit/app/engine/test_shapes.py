"""Buckets: every size has one, few are far too large, and none changes an answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine.engine import Engine, ModelInput
from app.engine.session import Device
from app.engine.shapes import Buckets
from app.store.manifest import Manifest
from tests.support.recorder import Recorder


def test_sizes_are_rounded_up_to_few(manifest: Manifest) -> None:
    audio = manifest.audio.model_copy(update={"max_frames": 512})
    text = manifest.text.model_copy(update={"max_tokens": 64})
    buckets = Buckets.of_gpu(manifest.model_copy(update={"audio": audio, "text": text}), max_batch=24)
    assert [buckets.rows(size) for size in (1, 2, 3, 9, 17, 24)] == [1, 2, 4, 16, 24, 24]
    assert [buckets.tokens(size) for size in (1, 16, 17, 64)] == [16, 16, 32, 64]
    for samples in (1, 16_000, 64 * 512 - 1, 64 * 512, 512 * 512 - 1):
        frames, given = 1 + samples // 512, 1 + buckets.samples(samples) // 512
        assert frames <= given < frames + 64
    shapes = list(buckets.shapes())
    assert shapes[0] == (24, 512 * 512 - 1, 64)
    assert len(shapes) == len(set(shapes)) == 6 * 8 * 4


def test_a_clip_that_is_taken_whole_keeps_its_length(manifest: Manifest) -> None:
    whole = manifest.model_copy(update={"audio": manifest.audio.model_copy(update={"whole_clip": True})})
    assert Buckets.of_gpu(whole, 4).samples(1_000_001) == 1_000_001


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_the_same_in_buckets(
    folder: Path, manifest: Manifest, make_speech: Callable[..., NDArray[np.float32]], threads: int
) -> None:
    recorder = Recorder()
    buckets = Buckets.of_gpu(manifest, max_batch=4)
    bucketed = Engine(folder, manifest, "fp32", Device("cpu", threads), buckets, recorder.open)
    plain = Engine(folder, manifest, "fp32", Device("cpu", threads))
    ids = np.array([2, 8, 9, 3])
    both = [ModelInput(make_speech(seconds, seed=row), ids[row:]) for row, seconds in enumerate((1.0, 0.4, 1.9))]
    batch = [*both, ModelInput(make_speech(0.2), None), ModelInput(None, ids)]
    for found, expected in zip(bucketed.predict(batch), plain.predict(batch), strict=True):
        assert found.arousal == pytest.approx(expected.arousal, abs=1e-5)
        assert found.valence == pytest.approx(expected.valence, abs=1e-5)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert {"logits": (4, 5)} in [run.outputs for run in recorder.runs]  # three in the bucket of four

    recorder.runs.clear()
    bucketed.warm_up(60)
    warmed = {str((run.graph, run.outputs)) for run in recorder.runs}
    recorder.runs.clear()
    bucketed.predict(batch)
    assert {str((run.graph, run.outputs)) for run in recorder.runs} <= warmed
