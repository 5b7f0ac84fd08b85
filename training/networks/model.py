"""The three networks: audio to arousal, text to valence, both embeddings to emotion. Nothing else.

Structure and numbers of the `paper` preset are the published ones, with four corrections: padding is never attended to,
the recurrent layers end at the last valid frame or token, dropout is off at inference, and a block has the same number
of heads wherever it runs. Front-end: `training.features`; numbers of a preset: `training.config`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from transformers import PreTrainedModel

from ..config import AudioConfig, BlockConfig, EmotionConfig, TextConfig
from ..features import N_MELS, LogMelDelta
from .attention import attend
from .pooling import MASKED, AttentivePool, MeanPool, make_head

LEAST = 1e-4  # a probability under it counts as this: float16 has no logarithm of much less
FREQUENCIES = N_MELS // 4  # after the two strided convolutions


class Attention(nn.Module):
    """Multi-head self-attention without biases. x [batch, time, width], key_mask bool [batch, time]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, key_mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self.out(attend(self.query(x), self.key(x), self.value(x), key_mask, self.heads, self.scale, dropout))


class TransformerLayer(nn.Module):
    """Post-norm layer. Its feed-forward part has a residual of its own inside the layer's, as published.

    Dropout is on the attention weights, inside the feed-forward part and on what both residuals add.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, key_mask: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, key_mask)))
        inner = x + self.fc2(self.dropout(relu(self.fc1(x))))
        return self.norm2(x + self.dropout(inner))


class Block(nn.ModuleList):
    """A stack of transformer layers; x [batch, time, width], mask bool [batch, time], false at padding."""

    def __init__(self, width: int, config: BlockConfig) -> None:
        super().__init__(
            TransformerLayer(width, config.heads, config.feed_forward, config.dropout) for _ in range(config.layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, mask)
        return x


class Convolutions(nn.Module):
    """Features [batch, 2, frames, 128] to [batch, frames, width]. Convolves along frequency only: frames do not mix."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        narrow, wide = channels
        self.conv1 = nn.Conv2d(2, narrow, (1, 4), stride=(1, 2), padding=(0, 1), bias=False)
        self.conv2 = nn.Conv2d(narrow, narrow, (1, 7), padding=(0, 3), bias=False)
        self.conv3 = nn.Conv2d(narrow, wide, (1, 4), stride=(1, 2), padding=(0, 1), bias=False)
        self.conv4 = nn.Conv2d(wide, wide, (1, 7), padding=(0, 3), bias=False)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, features: Tensor) -> Tensor:
        x = relu(self.conv1(features))
        x = relu(self.conv2(x))
        x = relu(self.conv3(x))
        return self.conv4(x).transpose(1, 2).flatten(2)


class AudioArousal(nn.Module):
    """waveform f32 [batch, samples] (16 kHz, -1..1, right-padded) and waveform_length i64 [batch] to arousal f32
    [batch], audio_embedding [batch, frames, width] and audio_mask bool [batch, frames].

    frames = 1 + samples // 512, at most `max_frames`.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.max_frames = config.max_frames
        self.level_db = config.level_db
        self.width = FREQUENCIES * config.channels[1]
        self.features = LogMelDelta()
        self.convolutions = Convolutions(config.channels)
        self.block = Block(self.width, config.block)
        self.head = make_head(config.head, self.width, nn.GRU, config.recurrent, 1, config.block.dropout)

    def forward(self, waveform: Tensor, waveform_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, frames = self.features(waveform, waveform_length)
        return self.from_features(features[:, :, : self.max_frames], frames.clamp(max=self.max_frames))

    def from_features(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The network behind the front-end: features [batch, 2, frames, 128], frames i64 [batch]."""
        centre, spread = self.level_db
        shift = torch.tensor([centre, 0.0], device=features.device)[None, :, None, None]
        x = self.convolutions((features - shift) / spread)
        mask = torch.arange(x.shape[1], device=x.device)[None, :] < frames[:, None]
        embedding = self.block(x, mask) * mask[:, :, None]
        return self.head(embedding, frames)[:, 0], embedding, mask


class TextValence(nn.Module):
    """input_ids and attention_mask i64 [batch, tokens] to valence f32 [batch] and text_embedding [batch, tokens,
    width].
    """

    def __init__(self, config: TextConfig, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.width = int(encoder.config.hidden_size)
        self.frozen = config.frozen
        self.encoder = encoder.requires_grad_(not config.frozen)
        self.block = Block(self.width, config.block)
        self.head = make_head(config.head, self.width, nn.GRU, config.recurrent, 1, config.block.dropout)

    def train(self, mode: bool = True) -> "TextValence":
        """As in torch, but a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        mask = attention_mask.bool()
        embedding = self.block(self.encode(input_ids, mask), mask) * mask[:, :, None]
        return self.head(embedding, mask.sum(dim=1))[:, 0], embedding

    def encode(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The encoder's embedding of the tokens: [batch, tokens, width]."""
        # Additive and four-dimensional: transformers uses it unchanged, so the trace builds no mask of its own.
        additive = (~mask)[:, None, None, :].float() * MASKED
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encoder(input_ids=input_ids, attention_mask=additive).last_hidden_state


class Emotion(nn.Module):
    """Both embeddings [batch, frames, width] and [batch, tokens, width] and their bool masks to logits f32 [batch,
    classes]. A missing modality is an all-false mask.

    They are joined to [batch, frames + tokens, width], padding last.
    """

    def __init__(self, config: EmotionConfig, width: int) -> None:
        super().__init__()
        self.block = Block(width, config.block)
        self.head = make_head(config.head, width, nn.LSTM, config.recurrent, len(config.classes), config.block.dropout)

    def forward(self, audio_embedding: Tensor, audio_mask: Tensor, text_embedding: Tensor, text_mask: Tensor) -> Tensor:
        joined, length = join(audio_embedding, audio_mask, text_embedding, text_mask)
        mask = torch.arange(joined.shape[1], device=joined.device)[None, :] < length[:, None]
        return self.head(self.block(joined, mask), length)


class AddedEmotion(nn.Module):
    """As `Emotion`, but each modality has a head of its own and their logits are added. With audio present, the logits
    of the text have the learned weight `beside`. A missing modality adds nothing.

    So the transcript cannot change how the audio is read, which goes wrong with few clips to learn from.
    """

    def __init__(self, config: EmotionConfig, width: int) -> None:
        super().__init__()
        self.audio = MeanPool(width, len(config.classes), config.block.dropout)
        self.text = AttentivePool(width, len(config.classes))
        self.beside = nn.Parameter(torch.ones(()))

    def forward(self, audio_embedding: Tensor, audio_mask: Tensor, text_embedding: Tensor, text_mask: Tensor) -> Tensor:
        frames, tokens = audio_mask.sum(dim=1), text_mask.sum(dim=1)
        has_audio, has_text = (frames > 0)[:, None], (tokens > 0)[:, None]
        from_text = self.text(text_embedding, tokens) * torch.where(has_audio, self.beside, 1.0)
        return self.audio(audio_embedding, frames) * has_audio + from_text * has_text


class EitherEmotion(nn.Module):
    """As `Emotion`, but each modality has a head of its own, and an emotion that either expresses is the answer.

    With both, an emotion other than neutral has the weight 1 - (1 - a)(1 - t), the "noisy or" of its probabilities in
    audio and text, and neutral has (a t) to a learned power: a neutral voice is no evidence against angry words, nor
    are neutral words against an angry voice. The probabilities are of logits times a learned scale for each modality.
    """

    def __init__(self, config: EmotionConfig, width: int) -> None:
        super().__init__()
        self.audio = MeanPool(width, len(config.classes), config.block.dropout)
        self.text = AttentivePool(width, len(config.classes))
        self.audio_scale = nn.Parameter(torch.ones(()))
        self.text_scale = nn.Parameter(torch.ones(()))
        self.neutral_power = nn.Parameter(torch.ones(()))
        neutral = torch.tensor([name == config.neutral for name in config.classes])
        self.register_buffer("neutral", neutral, persistent=False)

    neutral: Tensor

    def forward(self, audio_embedding: Tensor, audio_mask: Tensor, text_embedding: Tensor, text_mask: Tensor) -> Tensor:
        frames, tokens = audio_mask.sum(dim=1), text_mask.sum(dim=1)
        from_audio, from_text = self.audio(audio_embedding, frames), self.text(text_embedding, tokens)
        has_audio, has_text = (frames > 0)[:, None], (tokens > 0)[:, None]
        both = self.fused(from_audio, from_text)
        one = torch.where(has_audio, from_audio, torch.where(has_text, from_text, 0.0))
        return torch.where(has_audio & has_text, both, one)

    def fused(self, from_audio: Tensor, from_text: Tensor) -> Tensor:
        """The logits of both from those of each, [batch, classes]."""
        audio, text = (from_audio * self.audio_scale).softmax(dim=1), (from_text * self.text_scale).softmax(dim=1)
        either = 1 - (1 - audio) * (1 - text)
        neither = (audio * text).clamp(min=LEAST) ** self.neutral_power
        return torch.where(self.neutral, neither, either).clamp(min=LEAST).log()


def join(audio: Tensor, audio_mask: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both sequences concatenated, padding last: [batch, frames + tokens, width], length i64 [batch].

    Only the LSTM depends on the order, and it must not read padding between audio and text.
    """
    frames = audio_mask.sum(dim=1)
    length = frames + text_mask.sum(dim=1)
    both = torch.cat((audio, text), dim=1)
    position = torch.arange(both.shape[1], device=both.device)[None, :]
    source = torch.where(position < frames[:, None], position, position - frames[:, None] + audio.shape[1])
    source = source.clamp(max=both.shape[1] - 1)
    return both.gather(1, source[:, :, None].expand(-1, -1, both.shape[2])), length
