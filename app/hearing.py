"""What a model gets of a clip: its speech alone, or the clip as it is. Serving and training share it.

A version whose manifest names a speech detector was trained on speech alone: the offset is removed, silence and noise
at the ends and in long pauses are cut out, and the window that the model takes begins where speech begins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .audio.decode import SAMPLE_RATE
from .audio.level import detectable, within_full_scale, without_offset
from .audio.speech import FRAME, Segment, duration, first, segments, with_margins
from .engine.detector import SpeechDetector
from .store.manifest import AudioInput


@dataclass(frozen=True)
class Heard:
    """`waveform`: float32 [samples], mono 16 kHz, -1..1, the input of the audio graph; None where there is no speech.

    `speech`: where speech was found, None where the version has no detector; a long clip is searched until the window is full. `used`: from the first to the last sample that the model gets. `truncated`: whether the clip goes
    on behind it.
    """

    waveform: NDArray[np.float32] | None
    speech: tuple[Segment, ...] | None
    used: Segment
    truncated: bool

    @property
    def speech_s(self) -> float | None:
        """Seconds of speech that was found; None without a detector."""
        return None if self.speech is None else duration(self.speech) / SAMPLE_RATE


class Hearing:
    """How one version hears. Safe to share between threads."""

    def __init__(self, audio: AudioInput, detector: SpeechDetector | None = None) -> None:
        self._max_samples, self._taken_samples = audio.max_samples, audio.taken_samples
        self._detector = detector

    def hear(self, samples: NDArray[np.float32]) -> Heard:
        """Hears a decoded clip, float32 [samples], mono 16 kHz, finite. Raises InferenceFailed."""
        if self._detector is None:
            # A copy, so that a long clip is not kept in memory while the part that the model takes waits.
            waveform = within_full_scale(samples)[: self._taken_samples].copy()
            used = Segment(0, min(len(samples), self._max_samples))
            return Heard(waveform, None, used, truncated=used.end < len(samples))
        searched, found = self._speech(samples, self._detector)
        taken = first(parts := with_margins(found, len(samples)), self._max_samples)
        if not taken:
            return Heard(None, (), Segment(0, 0), truncated=False)
        waveform = np.concatenate([samples[start:end] for start, end in taken])
        truncated = duration(taken) < duration(parts) or searched < len(samples)
        level = within_full_scale(without_offset(waveform))
        return Heard(level, tuple(found), Segment(taken[0].start, taken[-1].end), truncated)

    def _speech(self, samples: NDArray[np.float32], detector: SpeechDetector) -> tuple[int, list[Segment]]:
        """The number of samples that were searched, and the speech in them."""
        probabilities = np.zeros(0, dtype=np.float32)
        found: list[Segment] = []
        searched = 0
        for block in detector.probabilities(detectable(samples)):
            probabilities = np.concatenate((probabilities, block))
            searched = min(len(samples), len(probabilities) * FRAME)
            found = segments(probabilities, searched)
            if duration(with_margins(found, searched)) > self._max_samples:
                break
        return searched, found
