"""The three graphs of a version, run the way that another framework would serve them.

Decoding, cleaning and tokenising are this project's own functions, so that only serving is compared. Every request has
audio and a transcript. Environment variables say what to serve, because a command line starts each peer.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.audio.decode import decode
from app.engine.detector import SpeechDetector
from app.engine.shapes import right_pad
from app.hearing import hear
from app.store.manifest import GRAPH_NAMES
from app.store.versions import load_manifest
from app.text import TextTokenizer, clean_transcript

FOLDER = Path(os.environ["PEER_FOLDER"])  # of the version
PRECISION = os.environ["PEER_PRECISION"]
THREADS = int(os.environ["PEER_THREADS"])  # inside an operator
SPINNING = os.environ["PEER_SPINNING"]  # "1", onnxruntime's default: threads inside an operator spin while they wait
PORT = int(os.environ["PEER_PORT"])
MAX_BATCH = int(os.environ["PEER_MAX_BATCH"])  # 1: no batching
BATCH_WAIT_S = float(os.environ["PEER_BATCH_WAIT_S"])  # how long a batch waits for more requests


@dataclass(frozen=True)
class Utterance:
    """`waveform`: float32 [samples]. `input_ids`: int64 [tokens]. `audio`: the answer's facts about the file."""

    waveform: NDArray[np.float32]
    input_ids: NDArray[np.int64]
    audio: dict[str, Any]


class Reader:
    """Turns a request into graph inputs. Safe to share between threads."""

    def __init__(self) -> None:
        self.manifest = load_manifest(FOLDER)
        self._tokenizer = TextTokenizer(FOLDER / self.manifest.text.tokenizer.file, self.manifest.text.max_tokens)
        speech = self.manifest.audio.speech
        self._detector = SpeechDetector(FOLDER / speech.detector.file) if speech else None

    def read(self, audio: bytes, transcript: str) -> Utterance:
        clip = decode(audio)
        waveform = hear(clip.samples, self.manifest.audio, self._detector).waveform
        if waveform is None:
            raise ValueError("the clip holds no speech")
        about = {"duration_s": clip.duration_s, "sample_rate": clip.sample_rate, "channels": clip.channels}
        tokens = self._tokenizer.encode(clean_transcript(transcript))
        return Utterance(waveform, tokens.ids, about)


class Graphs:
    """The sessions. Call `answer` from one thread at a time."""

    def __init__(self) -> None:
        self._manifest = load_manifest(FOLDER)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", SPINNING)
        files = {stored: graph.file for stored, graph in self._manifest.graphs[PRECISION].items()}  # type: ignore[index]
        self._audio, self._text, self._emotion = (
            onnxruntime.InferenceSession(FOLDER / files[name], options, providers=["CPUExecutionProvider"])
            for name in GRAPH_NAMES
        )
        silence = np.zeros(self._manifest.audio.max_samples, dtype=np.float32)
        self.answer([Utterance(silence, np.zeros(self._manifest.text.max_tokens, dtype=np.int64), {})])

    def answer(self, batch: Sequence[Utterance]) -> list[dict[str, Any]]:
        """An answer for each utterance; the batch is padded to its longest."""
        waveform, waveform_length = right_pad([utterance.waveform for utterance in batch])
        arousal, audio_embedding, audio_mask = self._audio.run(
            ["arousal", "audio_embedding", "audio_mask"], {"waveform": waveform, "waveform_length": waveform_length}
        )
        input_ids, tokens = right_pad([utterance.input_ids for utterance in batch])
        text_mask = np.arange(input_ids.shape[1]) < tokens[:, None]
        valence, text_embedding = self._text.run(
            ["valence", "text_embedding"], {"input_ids": input_ids, "attention_mask": text_mask.astype(np.int64)}
        )
        masks = {"audio_mask": audio_mask, "text_mask": text_mask}
        embeddings = {"audio_embedding": audio_embedding, "text_embedding": text_embedding}
        (logits,) = self._emotion.run(["logits"], masks | embeddings)
        scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / self._manifest.emotion.temperature.both)
        probabilities = scaled / scaled.sum(axis=1, keepdims=True)
        low, high = self._manifest.scale
        rows = zip(batch, np.clip(arousal, low, high), np.clip(valence, low, high), probabilities, strict=True)
        return [self._as_json(*row) for row in rows]

    def _as_json(self, utterance: Utterance, arousal: Any, valence: Any, probabilities: NDArray[Any]) -> dict[str, Any]:
        classes = self._manifest.emotion.classes
        return {
            "arousal": round(float(arousal), 4),
            "valence": round(float(valence), 4),
            "emotion": {
                "label": classes[int(probabilities.argmax())],
                "probabilities": {
                    name: round(float(value), 4) for name, value in zip(classes, probabilities, strict=True)
                },
            },
            "modalities": ["audio", "text"],
            "audio": utterance.audio,
            "model": {"name": self._manifest.name, "version": self._manifest.version},
            "warnings": [],
        }
