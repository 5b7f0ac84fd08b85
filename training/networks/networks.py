"""The three networks as one: built, and run on a batch in which a modality may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..config import Config, Stage
from ..data.augment import Band, mask_frequencies
from ..data.batches import Batch
from ..errors import TrainingError
from .model import (
    AddedEmotion,
    AudioArousal,
    Emotion,
    TextValence,
)
from .original import original_networks
from .whisper import WhisperArousal


class RunError(TrainingError):
    """A run folder that lacks something; the message says what and which command makes it."""


@dataclass
class Outputs:
    """What the two regressors say of a batch; rows of a missing modality are NaN, zero or False."""

    arousal: Tensor  # [batch]
    valence: Tensor  # [batch]
    audio_embedding: Tensor  # [batch, frames, width]
    audio_mask: Tensor  # bool [batch, frames]
    text_embedding: Tensor  # [batch, tokens, width]
    text_mask: Tensor  # bool [batch, tokens]


class Networks(nn.Module):
    """`audio`, `text` and `emotion` of one configuration; what is not pretrained starts from its seed."""

    audio: AudioArousal | WhisperArousal
    text: TextValence
    emotion: Emotion | AddedEmotion

    def __init__(self, config: Config, encoder: PreTrainedModel) -> None:
        super().__init__()
        torch.manual_seed(config.train.seed)
        self.config = config
        if config.semantics == "original":
            self.audio, self.text, self.emotion = original_networks(config, encoder)
        else:
            encoder_config = config.audio.encoder
            self.audio = WhisperArousal(config.audio, encoder_config) if encoder_config else AudioArousal(config.audio)
            self.text = TextValence(config.text, encoder)
            classifier = AddedEmotion if config.emotion.fusion == "added" else Emotion
            self.emotion = classifier(config.emotion, self.audio.width)
        if self.audio.width != self.text.width:
            raise RunError(
                f"The audio block is {self.audio.width} wide and the text encoder {self.text.width}; "
                f"set audio.channels to [8, {self.text.width // 32}]."
            )

    def stage(self, stage: Stage) -> nn.Module:
        """The network that `stage` trains."""
        return {"audio": self.audio, "text": self.text, "emotion": self.emotion}[stage]

    def embed_audio(
        self, waveform: Tensor, length: Tensor, bands: Sequence[Band | None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The audio network on a batch, with the mel bands that training masks."""
        if isinstance(self.audio, WhisperArousal) or not any(bands):
            return self.audio(waveform, length)
        with torch.no_grad():
            features, frames = self.audio.features(waveform, length)
            features = mask_frequencies(features, frames, bands)
        return self.audio.from_features(features, frames)

    def embed(self, batch: Batch) -> Outputs:
        """Each network runs on the rows that have its modality, as in serving."""
        heard = batch.waveform_length > 0
        read = batch.attention_mask.any(dim=1)
        size = len(batch.ids)
        device = batch.waveform.device
        arousal, valence = torch.full((2, size), float("nan"), device=device)
        audio_embedding = torch.zeros(size, 1, self.audio.width, device=device)
        text_embedding = torch.zeros(size, 1, self.text.width, device=device)
        audio_mask, text_mask = (torch.zeros(size, 1, dtype=torch.bool, device=device) for _ in range(2))
        if heard.any():
            longest = int(batch.waveform_length.max())
            bands = [band for band, present in zip(batch.bands, heard.tolist(), strict=True) if present]
            said, embedding, mask = self.embed_audio(
                batch.waveform[heard, :longest], batch.waveform_length[heard], bands
            )
            arousal, audio_embedding, audio_mask = (_spread(value, heard) for value in (said, embedding, mask))
            arousal = arousal.masked_fill(~heard, float("nan"))
        if read.any():
            mask = batch.attention_mask[read]
            said, embedding = self.text(batch.input_ids[read], mask)
            valence, text_embedding, text_mask = (_spread(value, read) for value in (said, embedding, mask.bool()))
            valence = valence.masked_fill(~read, float("nan"))
        return Outputs(arousal, valence, audio_embedding, audio_mask, text_embedding, text_mask)

    def classify(self, outputs: Outputs) -> Tensor:
        """Logits [batch, classes]."""
        logits: Tensor = self.emotion(
            outputs.audio_embedding, outputs.audio_mask, outputs.text_embedding, outputs.text_mask
        )
        return logits


def _spread(rows: Tensor, present: Tensor) -> Tensor:
    """`rows` of the utterances that are `present` [batch] put back among zeros."""
    whole = rows.new_zeros(len(present), *rows.shape[1:])
    whole[present] = rows
    return whole
