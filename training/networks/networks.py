"""The three networks as one: built from a configuration, and run on a batch in which a modality may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..config import Config, ConfigError, Stage
from ..data.augment import Band, mask_frequencies
from ..data.batches import Batch
from .model import AddedEmotion, AudioArousal, EitherEmotion, Emotion, TextValence
from .original import original_networks
from .whisper import WhisperArousal

CLASSIFIERS: dict[str, type[Emotion | AddedEmotion | EitherEmotion]] = {
    "joined": Emotion,
    "added": AddedEmotion,
    "either": EitherEmotion,
}


@dataclass
class Outputs:
    """The outputs of the two regressors for a batch; rows without the modality are NaN, zero or False."""

    arousal: Tensor  # [batch]
    valence: Tensor  # [batch]
    audio_embedding: Tensor  # [batch, frames, width]
    audio_mask: Tensor  # bool [batch, frames]
    text_embedding: Tensor  # [batch, tokens, width]
    text_mask: Tensor  # bool [batch, tokens]


class Networks(nn.Module):
    """`audio`, `text` and `emotion` of one configuration. Layers that are not pretrained are drawn from its seed.

    Raises ConfigError where audio and text are not equally wide.
    """

    audio: AudioArousal | WhisperArousal
    text: TextValence
    emotion: Emotion | AddedEmotion | EitherEmotion

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
            self.emotion = CLASSIFIERS[config.emotion.fusion](config.emotion, self.audio.width)
        if self.audio.width != self.text.width:
            raise ConfigError(
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
        """Runs each regressor on the rows that have its modality, as in serving."""
        has_audio = batch.waveform_length > 0
        has_text = batch.attention_mask.any(dim=1)
        size = len(batch.ids)
        device = batch.waveform.device
        arousal, valence = torch.full((2, size), float("nan"), device=device)
        audio_embedding = torch.zeros(size, 1, self.audio.width, device=device)
        text_embedding = torch.zeros(size, 1, self.text.width, device=device)
        audio_mask, text_mask = (torch.zeros(size, 1, dtype=torch.bool, device=device) for _ in range(2))
        if has_audio.any():
            longest = int(batch.waveform_length.max())
            bands = [band for band, present in zip(batch.bands, has_audio.tolist(), strict=True) if present]
            scores, embedding, mask = self.embed_audio(
                batch.waveform[has_audio, :longest], batch.waveform_length[has_audio], bands
            )
            arousal, audio_embedding, audio_mask = (_spread(value, has_audio) for value in (scores, embedding, mask))
            arousal = arousal.masked_fill(~has_audio, float("nan"))
        if has_text.any():
            mask = batch.attention_mask[has_text]
            scores, embedding = self.text(batch.input_ids[has_text], mask)
            valence, text_embedding, text_mask = (
                _spread(value, has_text) for value in (scores, embedding, mask.bool())
            )
            valence = valence.masked_fill(~has_text, float("nan"))
        return Outputs(arousal, valence, audio_embedding, audio_mask, text_embedding, text_mask)

    def classify(self, outputs: Outputs) -> Tensor:
        """Logits [batch, classes]."""
        logits: Tensor = self.emotion(
            outputs.audio_embedding, outputs.audio_mask, outputs.text_embedding, outputs.text_mask
        )
        return logits


def _spread(rows: Tensor, present: Tensor) -> Tensor:
    """`rows` of the utterances that are `present` [batch], with zeros for the others."""
    whole = rows.new_zeros(len(present), *rows.shape[1:])
    whole[present] = rows
    return whole
