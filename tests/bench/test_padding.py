"""Work follows the speech: what is computed is counted, so that padding cannot creep back."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine.batcher import PADDING, Batcher
from app.engine.engine import Engine, Prediction, Utterance
from app.engine.session import Device, open_session
from app.engine.shapes import Buckets
from app.pipeline import positions
from app.store.manifest import GraphName, Manifest
from benchmarks.harness.work import flops
from benchmarks.workload.lengths import draw_lengths, make
from training.config import load_preset
from training.export.int8 import quantise_int8
from training.export.onnx import export_fp32
from training.networks.networks import Networks
from training.networks.text_encoder import load_encoder
from training.recipes.smoke import TINY, make_encoder

Feeds = dict[str, NDArray[Any]]


class Recorder:
    """Opens sessions that remember what they were given."""

    def __init__(self) -> None:
        self.given: list[tuple[GraphName, Feeds]] = []

    def open(self, path: Path, name: GraphName, device: Device) -> Any:
        return _Recorded(open_session(path, name, device), name, self.given)

    def positions(self) -> int:
        """Frames and tokens that went into the graphs, padding among them."""
        sizes = {"audio_arousal": lambda feeds: 1 + feeds["waveform"].shape[1] // 512, "text_valence": _tokens}
        return sum(len(feeds[next(iter(feeds))]) * sizes[name](feeds) for name, feeds in self.given if name in sizes)


def _tokens(feeds: Feeds) -> int:
    return int(feeds["input_ids"].shape[1])


class _Recorded:
    def __init__(self, session: Any, name: GraphName, given: list[tuple[GraphName, Feeds]]) -> None:
        self._session, self._name, self._given = session, name, given

    def io_binding(self) -> Any:
        return _Binding(self._session.io_binding())

    def run_with_iobinding(self, binding: Any) -> None:
        self._given.append((self._name, binding.feeds))
        self._session.run_with_iobinding(binding.inner)


class _Binding:
    def __init__(self, inner: Any) -> None:
        self.inner, self.feeds = inner, dict[str, NDArray[Any]]()

    def bind_cpu_input(self, name: str, value: NDArray[Any]) -> None:
        self.feeds[name] = value
        self.inner.bind_cpu_input(name, value)

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.feeds[name] = value.numpy()
        self.inner.bind_ortvalue_input(name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(folder: Path, manifest: Manifest, recorder: Recorder) -> Engine:
    return Engine(folder, manifest, "fp32", open_session=recorder.open)


def test_an_utterance_alone_is_not_padded_at_all(engine: Engine, recorder: Recorder) -> None:
    engine.predict([make(1.7, 9, vocabulary=100)])
    shapes = [{name: value.shape[1:2] for name, value in feeds.items()} for _, feeds in recorder.given]
    assert sorted(shape["waveform"] for shape in shapes if "waveform" in shape) == [(27_200,)]
    assert sorted(shape["input_ids"] for shape in shapes if "input_ids" in shape) == [(9,)]
    assert [shape["audio_mask"] + shape["text_mask"] for shape in shapes if "audio_mask" in shape] == [(54, 9)]


@pytest.mark.parametrize("quantised", [False, True], ids=["fp32", "int8"])
def test_a_graph_computes_as_much_as_is_said(tmp_path: Path, quantised: bool) -> None:
    """Counted in the published structure: twice the speech is twice the products, and attention a little more."""
    encoder = make_encoder(tmp_path / "encoder")
    config = load_preset("paper", {**TINY, "text.encoder": str(encoder)})
    graphs = export_fp32(Networks(config, load_encoder(str(encoder))), tmp_path)
    graphs = quantise_int8(graphs, tmp_path) if quantised else graphs

    def counted(seconds: float, tokens: int, rows: int = 1) -> int:
        said = make(seconds, tokens, vocabulary=10)
        assert said.waveform is not None and said.input_ids is not None
        waveform, ids = (np.stack([part] * rows) for part in (said.waveform, said.input_ids))
        voice = {"waveform": waveform, "waveform_length": np.full(rows, waveform.shape[1])}
        words = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return flops(graphs["audio_arousal"], voice) + flops(graphs["text_valence"], words)

    short, long, two = counted(0.511, 8), counted(1.023, 16), counted(0.511, 8, rows=2)
    assert short > 0
    assert 2 * short <= long < 2.3 * short
    assert two == 2 * short


def test_a_missing_modality_is_not_computed(engine: Engine, recorder: Recorder) -> None:
    both = make(1.0, 8, vocabulary=100)
    engine.predict([Utterance(both.waveform, None), both, Utterance(None, both.input_ids)])
    assert [len(feeds["waveform"]) for name, feeds in recorder.given if name == "audio_arousal"] == [1, 1]
    assert [len(feeds["input_ids"]) for name, feeds in recorder.given if name == "text_valence"] == [1, 1]
    assert [len(feeds["audio_mask"]) for name, feeds in recorder.given if name == "emotion"] == [1, 1, 1]


def test_a_full_queue_of_all_lengths_is_hardly_padded(folder: Path, manifest: Manifest, recorder: Recorder) -> None:
    speech = [make(min(length.seconds, 2.0), min(length.tokens, 16), 100) for length in draw_lengths(96)]
    real = sum(positions(manifest, utterance) for utterance in speech)
    batched = Engine(folder, manifest, "fp32", buckets=Buckets.none(manifest), open_session=recorder.open)
    asyncio.run(_all_at_once(batched.predict, lambda item: positions(manifest, item), speech))
    assert real <= recorder.positions() <= real / (1 - PADDING)
    assert len(recorder.given) < len(speech)  # three graphs a batch: batches hold more than three


async def _all_at_once(
    run: Callable[[Sequence[Utterance]], list[Prediction]], cost: Callable[[Utterance], int], items: list[Utterance]
) -> None:
    batcher = Batcher[Utterance, Prediction]([run], cost, max_batch=16, max_cost=10_000, max_queue=len(items))
    batcher.start()
    await asyncio.gather(*(batcher.submit(item) for item in items))
    await batcher.close()
