"""The engine without a service, in its own process: utterances per second."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from app.audio.decode import decode
from app.engine.engine import ModelInput
from app.engine.load import Model, load_model
from app.hearing import hear
from app.settings import Settings
from app.text import clean_transcript


class EngineAlone:
    """Loads the model of `settings`. `spoken`: files and transcripts, decoded and tokenised as the service does."""

    def __init__(self, settings: Settings, spoken: Sequence[tuple[bytes, str]]) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _load, (settings, list(spoken)))

    def throughput(self, passes: int, batch_size: int) -> float:
        """Utterances per second over `passes` passes, in order, in batches of `batch_size`."""
        return self._process.submit(_throughput, passes, batch_size).result()

    def close(self) -> None:
        self._process.shutdown()


_loaded: list[tuple[Model, list[ModelInput]]] = []  # in the engine's own process


def _load(settings: Settings, spoken: list[tuple[bytes, str]]) -> None:
    model = load_model(settings)
    utterances = [
        ModelInput(
            hear(decode(file).samples, model.manifest.audio, model.detector).waveform,
            model.tokenizer.encode(clean_transcript(transcript)).ids,
        )
        for file, transcript in spoken
    ]
    _loaded[:] = [(model, utterances)]


def _throughput(passes: int, batch_size: int) -> float:
    ((model, utterances),) = _loaded
    everything = utterances * passes
    started = time.perf_counter()
    for first in range(0, len(everything), batch_size):
        model.predict(everything[first : first + batch_size])
    return len(everything) / (time.perf_counter() - started)
