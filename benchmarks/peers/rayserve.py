"""The graphs behind Ray Serve: its proxy and one replica, a deployment with a FastAPI application."""

import asyncio
import signal
from typing import Annotated, Any

import ray  # type: ignore[import-not-found]
from fastapi import FastAPI, File, Form, UploadFile
from ray import serve

from .graphs import BATCH_WAIT_S, MAX_BATCH, PORT, Graphs, Reader, Utterance

application = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=max(64, 2 * MAX_BATCH), ray_actor_options={"num_cpus": 1})
@serve.ingress(application)
class Maeum:
    """Decodes in threads and runs the graphs in another thread, so that the replica keeps taking requests."""

    def __init__(self) -> None:
        self._reader, self._graphs = Reader(), Graphs()
        self._one_at_a_time = asyncio.Lock()

    @application.post("/predict")
    async def predict(self, audio: Annotated[UploadFile, File()], transcript: Annotated[str, Form()]) -> dict[str, Any]:
        content = await audio.read()
        utterance = await asyncio.to_thread(self._reader.read, content, transcript)
        if MAX_BATCH > 1:
            answer: dict[str, Any] = await self._batched(utterance)
            return answer
        return (await self._run([utterance]))[0]

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def _batched(self, utterances: list[Utterance]) -> list[dict[str, Any]]:
        return await self._run(utterances)

    async def _run(self, utterances: list[Utterance]) -> list[dict[str, Any]]:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._graphs.answer, utterances)


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Maeum.bind())  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, lambda *_: ray.shutdown())
    signal.pause()
