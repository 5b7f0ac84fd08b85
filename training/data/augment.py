"""Augmentation: random frequency masking, random swap and random deletion of tokens, as published; and respelling.

A band of 10..29 mels at a random place is filled with uniform noise between two random levels in [-80, 0] dB; 30 % of
the tokens change places, or are deleted. The original drew every copy with the same seed; here each has its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features import HOP_LENGTH, N_MELS, TOP_DB, delta

Kind = Literal["swap", "mask", "mask_delete"]
KINDS: tuple[Kind, ...] = ("swap", "mask", "mask_delete")
NARROWEST, WIDEST = 10, 29  # mels
TOKENS = 0.3  # share of the tokens that are swapped or deleted

_PUNCTUATION = re.compile(r"(?<!\d)[.,!?~…]+|[.,!?~…]+(?!\d)")

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """Noise for the mels from `start` on: dB [frames, width]."""

    start: int
    noise: NDArray[np.float32]


def draw_band(samples: int, random: np.random.Generator) -> Band:
    """A band for an utterance of `samples` samples."""
    start = int(random.integers(N_MELS))
    width = min(int(random.integers(NARROWEST, WIDEST + 1)), N_MELS - start)
    low, high = np.sort(random.uniform(-TOP_DB, 0.0, size=2))
    return Band(start, random.uniform(low, high, size=(1 + samples // HOP_LENGTH, width)).astype(np.float32))


def mask_frequencies(features: Tensor, frames: Tensor, bands: Sequence[Band | None]) -> Tensor:
    """features [batch, 2, frames, 128] with the band of each utterance filled and the difference recomputed."""
    if not any(bands):
        return features
    log_mel = features[:, 0].clone()
    for row, band in zip(log_mel, bands, strict=True):
        if band is not None:
            noise = torch.from_numpy(band.noise).to(row)
            row[: len(noise), band.start : band.start + noise.shape[1]] = noise[: len(row)]
    real = torch.arange(log_mel.shape[1], device=log_mel.device)[None, :] < frames[:, None]
    difference = torch.where(real[:, :, None], delta(log_mel, frames), 0.0)
    return torch.stack((log_mel, difference), dim=1)


def respelled(text: str, random: np.random.Generator) -> str:
    """`text` without its last sign of punctuation, without all of them, without spaces, or without both.

    So people type in chats, and recognisers write. Signs between digits stay.
    """
    kind = random.integers(4)
    if kind == 0:
        return text.rstrip(".!?~… ") or text
    if kind != 2:
        text = _PUNCTUATION.sub("", text).strip() or text
    return text if kind == 1 else "".join(text.split())


def swap_tokens(ids: Ids, random: np.random.Generator) -> Ids:
    """`ids` [tokens] with 30 % of the tokens swapped in pairs, but not the first and last, which are special."""
    inner = np.arange(1, len(ids) - 1)
    pairs = max(1, round(TOKENS * len(inner) / 2))
    chosen = random.permutation(inner)[: 2 * min(pairs, len(inner) // 2)]
    first, second = np.split(chosen, 2)
    swapped = ids.copy()
    swapped[first], swapped[second] = ids[second], ids[first]
    return swapped


def delete_tokens(ids: Ids, random: np.random.Generator) -> Ids:
    """`ids` [tokens] without 30 % of the tokens between the first and last, which are special; one always stays."""
    inner = len(ids) - 2
    gone = min(round(TOKENS * inner), inner - 1)
    if gone < 1:
        return ids
    return np.delete(ids, 1 + random.choice(inner, size=gone, replace=False))
