"""The three networks as the published checkpoints compute them: the layers of `model`, with padding that is seen.

Every input is padded to full length, the recurrent layers run over the padding to its end, and attention masks the same
positions as the original's code. `docs/fidelity.md` says why networks trained here compute differently.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..config import Config, EmotionConfig, TextConfig
from .model import AudioArousal, Emotion, TextValence


def original_networks(config: Config, encoder: PreTrainedModel) -> tuple[AudioArousal, TextValence, Emotion]:
    """Audio, text and emotion, with the inputs and outputs of the networks in `training.networks.model`."""
    audio = OriginalAudioArousal(config.audio)
    text = OriginalTextValence(config.text, encoder)
    return audio, text, OriginalEmotion(config.emotion, audio.width, config.audio.max_frames, config.text.max_tokens)


class OriginalAudioArousal(AudioArousal):
    """Always `max_frames` frames. The level is that of the whole clip, including the part that is then cut off.

    `audio_mask` marks the frames that the classifier attends to: not the loudest one, which is at exactly 0 dB.
    """

    def forward(self, waveform: Tensor, waveform_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, frames = self.features(waveform, waveform_length)
        own = torch.arange(features.shape[2], device=features.device)[None, :] < frames[:, None]
        features = torch.where(own[:, None, :, None], features, 0.0)
        return self.from_features(full_length(features.transpose(1, 2), self.max_frames).transpose(1, 2), frames)

    def from_features(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network behind the front-end: features [batch, 2, max_frames, 128], 0 past the utterance's own."""
        x = self.convolutions(features)
        embedding = self.block(x, (x != 0).all(dim=2))
        mask = (features[:, 0] != 0).all(dim=2)
        return self.head(embedding, torch.full_like(frames, self.max_frames))[:, 0], embedding, mask


class OriginalTextValence(TextValence):
    """Always `max_tokens` tokens, filled up with [PAD]. Only the encoder gets the mask of the real ones."""

    def __init__(self, config: TextConfig, encoder: PreTrainedModel) -> None:
        super().__init__(config, encoder)
        self.max_tokens = config.max_tokens
        self.pad_id = int(encoder.config.pad_token_id)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        mask = full_length(attention_mask.bool(), self.max_tokens)
        x = self.encode(torch.where(mask, full_length(input_ids, self.max_tokens), self.pad_id), mask)
        everywhere = torch.ones_like(mask)
        embedding = self.block(x, everywhere)
        return self.head(embedding, everywhere.sum(dim=1))[:, 0], embedding


class OriginalEmotion(Emotion):
    """Audio, its padding, text, its padding: [batch, max_frames + max_tokens, width].

    The original had no utterances with one modality; a missing one is zeros here, and masked.
    """

    def __init__(self, config: EmotionConfig, width: int, max_frames: int, max_tokens: int) -> None:
        super().__init__(config, width)
        self.max_frames = max_frames
        self.max_tokens = max_tokens

    def forward(self, audio_embedding: Tensor, audio_mask: Tensor, text_embedding: Tensor, text_mask: Tensor) -> Tensor:
        audio, audio_mask = full_length(audio_embedding, self.max_frames), full_length(audio_mask, self.max_frames)
        text, text_mask = full_length(text_embedding, self.max_tokens), full_length(text_mask, self.max_tokens)
        mask = torch.cat((audio_mask, text_mask), dim=1)
        length = torch.full_like(mask[:, 0], self.max_frames + self.max_tokens, dtype=torch.int64)
        return self.head(self.block(torch.cat((audio, text), dim=1), mask), length)


def full_length(x: Tensor, size: int) -> Tensor:
    """x [batch, time, ...] cut at the end, or filled with zeros or False, to [batch, size, ...]."""
    return torch.cat((x, x.new_zeros(x.shape[0], size, *x.shape[2:])), dim=1)[:, :size]
