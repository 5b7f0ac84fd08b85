"""What training does to an utterance so that no two epochs hear the same: random frequency masking.

Numbers as published: a band of 10..29 mels that starts anywhere, filled with uniform noise between two random levels in
[-80, 0] dB. The original drew every copy with the same seed; here each draw is new.
"""

import torch
from torch import Tensor

from training.features import N_MELS, TOP_DB, delta

NARROWEST, WIDEST = 10, 29  # mels


def mask_frequencies(features: Tensor, frames: Tensor, share: float) -> Tensor:
    """Masks one band in a `share` of features [batch, 2, frames, 128], and takes the difference anew.

    Draws from torch's global generator, which the training loop seeds.
    """
    batch = len(features)
    device = features.device
    start = torch.randint(N_MELS, (batch, 1), device=device)
    width = torch.randint(NARROWEST, WIDEST + 1, (batch, 1), device=device)
    mel = torch.arange(N_MELS, device=device)[None, :]
    chosen = torch.rand(batch, 1, device=device) < share
    band = (chosen & (mel >= start) & (mel < start + width))[:, None, :]
    low, high = (torch.rand(2, batch, 1, 1, device=device) * -TOP_DB).sort(dim=0).values
    log_mel = features[:, 0]
    noise = low + (high - low) * torch.rand_like(log_mel)
    real = torch.arange(log_mel.shape[1], device=device)[None, :] < frames[:, None]
    masked = torch.where(band & real[:, :, None], noise, log_mel)
    difference = torch.where(real[:, :, None], delta(masked, frames), 0.0)
    return torch.stack((masked, difference), dim=1)
