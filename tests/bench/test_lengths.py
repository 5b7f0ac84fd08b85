"""The lengths that the benchmarks draw follow KEMDy20's published histogram."""

import numpy as np
import pytest

from benchmarks.workload.lengths import MAX_FRAMES, Length, draw_frames, draw_lengths, make, of_frames

DRAWS = 20_000


@pytest.mark.parametrize(("frames", "share"), [(129, 0.45), (237, 0.74), (777, 0.998)])
def test_the_published_points_hold(frames: int, share: float) -> None:
    sampling_error = 4 * np.sqrt(share * (1 - share) / DRAWS)
    assert abs(np.mean(draw_frames(DRAWS, seed=3) < frames) - share) < sampling_error


def test_a_seed_fixes_the_lengths() -> None:
    assert draw_lengths(50, seed=1) == draw_lengths(50, seed=1) != draw_lengths(50, seed=2)


def test_serving_cuts_at_512_frames() -> None:
    lengths = draw_lengths(DRAWS)
    assert max(length.frames for length in lengths) == MAX_FRAMES
    assert 0.05 < np.mean([length.frames == MAX_FRAMES for length in lengths]) < 0.15


@pytest.mark.parametrize("frames", [16, 100, 512])
def test_of_frames_gives_that_many_frames(frames: int) -> None:
    assert of_frames(frames).frames == frames


def test_tokens_grow_with_the_audio_within_limits() -> None:
    assert [of_frames(frames).tokens for frames in (2, 100, 512)] == [3, 20, 64]


def test_an_utterance_has_its_length_and_level() -> None:
    utterance = make(3.2, 20, vocabulary=50, seed=4)
    assert utterance.waveform is not None and utterance.input_ids is not None
    assert 1 + len(utterance.waveform) // 512 == Length(3.2, 20).frames == 101
    assert utterance.waveform.dtype == np.float32
    assert 0.05 < np.abs(utterance.waveform).mean() < 0.5
    assert len(utterance.input_ids) == 20
    assert utterance.input_ids.min() >= 5 and utterance.input_ids.max() < 50
