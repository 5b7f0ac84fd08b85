"""Silero's speech detector, which travels with a version: a waveform to the probability of speech in every 32 ms."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..errors import InferenceFailed, ModelCorrupt
from .session import session_options, warming_up

FRAME = 512  # samples of a probability: 32 ms
CONTEXT = 64  # samples before a frame that the detector takes with it
BLOCK = 512  # frames per call: the samples of a long clip are not copied all at once
_STATE = (1, 1, 128)
_INPUTS, _OUTPUTS = ["input", "h", "c"], ["speech_probs", "hn", "cn"]


class SpeechDetector:
    """Silero VAD as a sequence graph, `silero_vad_16k_sequence.onnx` of silero-vad 6. Threads may share it."""

    def __init__(self, path: Path, warm_up_timeout_s: float = 60) -> None:
        """Raises ModelCorrupt where `path` is no such graph."""
        self._path = path
        file = "/".join(path.parts[-3:])
        try:
            # One thread: clips are prepared side by side, and the recurrent part gains nothing from more.
            self._session = onnxruntime.InferenceSession(path, session_options(1))
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise ModelCorrupt(f"{file} cannot be loaded by onnxruntime ({type(error).__name__}).") from error
        inputs, outputs = (
            [value.name for value in values] for values in (self._session.get_inputs(), self._session.get_outputs())
        )
        if (inputs, outputs) != (_INPUTS, _OUTPUTS):
            raise ModelCorrupt(f"{file} is not Silero's sequence graph: it takes {', '.join(inputs)}.")
        self._options = onnxruntime.RunOptions()
        with warming_up(self._options, warm_up_timeout_s):  # the first run takes longer
            next(self.probabilities(np.zeros(FRAME, dtype=np.float32)))

    def __reduce__(self) -> tuple[type["SpeechDetector"], tuple[Path]]:
        return SpeechDetector, (self._path,)  # for the workers of a data loader: a session cannot be sent

    def probabilities(self, waveform: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yields the probabilities of the frames of `waveform` [samples], mono 16 kHz, -1..1, in blocks of `BLOCK`.

        The last frame is filled up with zeros. Raises InferenceFailed.
        """
        state = np.zeros(_STATE, dtype=np.float32), np.zeros(_STATE, dtype=np.float32)
        for start in range(0, len(waveform), BLOCK * FRAME):
            block = waveform[max(0, start - CONTEXT) : start + BLOCK * FRAME]
            before = 0 if start else CONTEXT
            block = np.pad(block, (before, -(len(block) + before - CONTEXT) % FRAME))
            frames = np.lib.stride_tricks.sliding_window_view(block, CONTEXT + FRAME)[::FRAME]
            given = dict(zip(_INPUTS, (np.ascontiguousarray(frames), *state), strict=True))
            try:
                found, *state = self._session.run(_OUTPUTS, given, self._options)
            except Exception as error:
                raise InferenceFailed from error
            yield found
