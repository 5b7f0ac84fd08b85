"""The graphs behind BentoML, one worker for the model.

Without batching, one service does everything. BentoML batches calls of a method with a single parameter, so with
batching a first service decodes and calls a second one that holds the graphs, as BentoML's documentation does.
"""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp  # type: ignore[import-not-found]
import bentoml  # type: ignore[import-not-found]

from .graphs import MAX_BATCH, Graphs, Reader, Utterance

_QUIET: dict[str, Any] = {"metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}


@bentoml.service(name="whole", workers=1, threads=1, **_QUIET)
class Whole:
    """Decodes and runs one utterance at a time."""

    def __init__(self) -> None:
        self._reader, self._graphs = Reader(), Graphs()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, audio: Path, transcript: str) -> dict[str, Any]:
        return self._graphs.answer([self._reader.read(audio.read_bytes(), transcript)])[0]


@bentoml.service(name="batched", workers=1, threads=1, **_QUIET)
class Batched:
    """Runs the batches that BentoML makes."""

    def __init__(self) -> None:
        self._graphs = Graphs()

    # BentoML adapts how long a batch waits; its max_latency_ms is the time after which it gives up on a request.
    @bentoml.api(batchable=True, max_batch_size=max(2, MAX_BATCH))  # type: ignore[untyped-decorator]
    def answer(self, utterances: list[Any]) -> list[Any]:
        # BentoML turns data classes into dictionaries between services.
        return self._graphs.answer([Utterance(**utterance) for utterance in utterances])


@bentoml.service(name="front", workers=1, **_QUIET)
class Front:
    """Decodes in threads and waits for a batch."""

    batched = bentoml.depends(Batched)

    def __init__(self) -> None:
        self._reader = Reader()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, audio: Path, transcript: str) -> dict[str, Any]:
        utterance = await asyncio.to_thread(lambda: self._reader.read(audio.read_bytes(), transcript))
        while True:
            try:
                answers: list[dict[str, Any]] = await self.batched.to_async.answer([utterance])
                return answers[0]
            except aiohttp.ClientConnectionError:
                pass  # BentoML's client does not notice that the other service closed an idle connection


Service = Front if MAX_BATCH > 1 else Whole
