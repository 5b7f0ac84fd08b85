"""The graphs behind LitServe: one API process, one inference process, its own batching where PEER_MAX_BATCH > 1.

LitServe decodes in the inference process, and batches the requests that are queued when the process becomes free.
"""

from typing import Any

import litserve  # type: ignore[import-not-found]
from starlette.requests import Request

from .graphs import BATCH_WAIT_S, MAX_BATCH, PORT, Graphs, Reader, Utterance


class Maeum(litserve.LitAPI):  # type: ignore[misc]
    """LitServe passes `predict` one utterance without batching, and the list from `batch` with it."""

    def setup(self, device: str) -> None:
        self._reader, self._graphs = Reader(), Graphs()

    def decode_request(self, request: Request) -> Utterance:
        form: Any = request  # the annotation says Request, but LitServe passes a form
        return self._reader.read(form["audio"].file.read(), form["transcript"])

    def batch(self, inputs: list[Utterance]) -> list[Utterance]:
        return list(inputs)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def predict(self, x: Utterance | list[Utterance]) -> dict[str, Any] | list[dict[str, Any]]:
        return self._graphs.answer(x) if isinstance(x, list) else self._graphs.answer([x])[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Maeum(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_S if MAX_BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False, access_log=False)
