"""What a model gets of a clip: its speech alone, or the clip as it is. Serving and training share it.

A version whose manifest names a speech detector was trained on speech alone: the offset is removed, silence and noise
at the ends and in long pauses are cut out, and the window that the model takes begins where speech begins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .audio.decode import SAMPLE_RATE
from .audio.level import detectable, within_full_scale, without_offset
from .audio.speech import Segment, duration, first, segments, with_margins
from .engine.detector import FRAME, SpeechDetector
from .store.manifest import AudioInput

# Half the distance between the highest and the lowest sample, so that an offset is no sound. -60 dB of full scale: the
# quietest speech of a usable recording peaks some 20 dB above, the noise of an open microphone lies below.
SILENT_PEAK = 0.001


@dataclass(frozen=True)
class Heard:
    """`waveform`: float32 [samples], mono 16 kHz, -1..1, the input of the audio graph; None where there is no speech.

    `speech`: where speech was found, None without a detector; a clip is searched until the model's window is full.
    `used`: from the first to the last sample that the model gets. `truncated`: whether the clip goes on behind it.
    """

    waveform: NDArray[np.float32] | None
    speech: tuple[Segment, ...] | None
    used: Segment
    truncated: bool

    @property
    def speech_s(self) -> float | None:
        """Seconds of speech that was found; None without a detector."""
        return None if self.speech is None else duration(self.speech) / SAMPLE_RATE


def hear(samples: NDArray[np.float32], audio: AudioInput, detector: SpeechDetector | None) -> Heard:
    """What a version with this `audio` input and `detector` gets of a decoded clip: float32 [samples], mono 16 kHz.

    Raises InferenceFailed.
    """
    if detector is None:
        return _whole(samples, audio)
    searched, found = _speech(samples, audio.max_samples, detector)
    parts = with_margins(found, len(samples))
    taken = first(parts, audio.max_samples)
    if not taken:
        return Heard(None, (), Segment(0, 0), truncated=False)
    waveform = within_full_scale(without_offset(np.concatenate([samples[start:end] for start, end in taken])))
    truncated = duration(taken) < duration(parts) or searched < len(samples)
    return Heard(waveform, tuple(found), Segment(taken[0].start, taken[-1].end), truncated)


def _whole(samples: NDArray[np.float32], audio: AudioInput) -> Heard:
    used = Segment(0, min(len(samples), audio.max_samples))
    truncated = used.end < len(samples)
    if np.ptp(samples[: used.end]) / 2 < SILENT_PEAK:
        return Heard(None, None, used, truncated)
    # A copy, so that a long clip is not kept in memory while the part that the model takes waits.
    waveform = within_full_scale(samples[: audio.taken_samples].copy())
    return Heard(waveform, None, used, truncated)


def _speech(samples: NDArray[np.float32], enough: int, detector: SpeechDetector) -> tuple[int, list[Segment]]:
    """Searches `samples` until more than `enough` are speech: the number that was searched, and the speech in them."""
    probabilities = np.zeros(0, dtype=np.float32)
    searched, found = 0, list[Segment]()
    for block in detector.probabilities(detectable(samples)):
        probabilities = np.concatenate((probabilities, block))
        searched = min(len(samples), len(probabilities) * FRAME)
        found = segments(probabilities, FRAME, searched)
        if duration(with_margins(found, searched)) > enough:
            break
    return searched, found
