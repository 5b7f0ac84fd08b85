"""The loss of a stage, as one module from a batch to its loss, so that several processes can share it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..config import EmotionStageConfig, Stage
from ..data.batches import Batch, label_shares
from ..data.utterance import Utterance
from ..networks.networks import Networks, Outputs
from ..networks.pooling import AttentivePool
from ..networks.whisper import WhisperArousal


class Learner(nn.Module):
    """`stage` of `networks`, and its loss. The other networks stay fixed, without dropout."""

    def __init__(self, stage: Stage, networks: Networks, learning: Sequence[Utterance]) -> None:
        super().__init__()
        self.stage = stage
        self.networks = networks.requires_grad_(False)
        self.settings = networks.config.train.stage(stage)
        self.trained = networks.stage(stage).requires_grad_(True)
        if networks.config.text.frozen:
            networks.text.encoder.requires_grad_(False)
        if isinstance(networks.audio, WhisperArousal) and networks.audio.frozen:
            networks.audio.encoder.requires_grad_(False)
        emotion = networks.config.train.emotion
        weights = class_weights(learning, networks.config.emotion.classes) if emotion.class_weights else None
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights, persistent=False)
        self.tag_names: list[str] = []
        if stage != "emotion" and self.settings.tags_weight:
            self.tag_names = sorted({tag for utterance in learning for tag in utterance.tags or ()})
        self.tag_head = AttentivePool(networks.audio.width, len(self.tag_names)) if self.tag_names else None
        classes = len(networks.config.emotion.classes)
        helped = stage != "emotion" and self.settings.emotion_weight
        self.emotion_head = AttentivePool(networks.audio.width, classes) if helped else None
        heads = [head for head in (self.tag_head, self.emotion_head) if head is not None]
        self.learned = nn.ModuleList([self.trained, *heads])

    def train(self, mode: bool = True) -> "Learner":
        """Puts only the stage's own network into training mode."""
        super().train(False)
        self.training = mode
        self.learned.train(mode)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        if self.stage == "emotion":
            return self._emotion_loss(batch)
        if self.stage == "text":
            predicted, embedding = self.networks.text(batch.input_ids, batch.attention_mask)
            truth, length = batch.valence, batch.attention_mask.sum(dim=1)
        else:
            predicted, embedding, mask = self.networks.embed_audio(batch.waveform, batch.waveform_length, batch.bands)
            truth, length = batch.arousal, mask.sum(dim=1)
        scored = ~truth.isnan()
        loss = regression_loss(self.settings.loss, predicted.float()[scored], truth[scored])
        if self.tag_head is not None:
            loss = loss + self.settings.tags_weight * self._tags_loss(self.tag_head(embedding, length), batch.tags)
        if self.emotion_head is not None:
            loss = loss + self.settings.emotion_weight * _shares_loss(self.emotion_head(embedding, length), batch.votes)
        return loss

    def _tags_loss(self, logits: Tensor, tags: Sequence[Sequence[str]]) -> Tensor:
        """Binary cross-entropy of logits [batch, tags]; utterances without tags do not count."""
        named = [[float(name in given) for name in self.tag_names] for given in tags]
        truth = torch.tensor(named, device=logits.device)
        tagged = torch.tensor([float(bool(given)) for given in tags], device=logits.device)
        losses = binary_cross_entropy_with_logits(logits.float(), truth, reduction="none").mean(dim=1)
        return (losses * tagged).sum() / tagged.sum().clamp(min=1)

    def _emotion_loss(self, batch: Batch) -> Tensor:
        settings = self.networks.config.train.emotion
        with torch.no_grad():
            outputs = self.networks.embed(batch)
        drop_modalities(outputs, settings)
        logits = self.networks.classify(outputs).float()
        losses = cross_entropy(logits, batch.votes, reduction="none", label_smoothing=settings.label_smoothing)
        if self.class_weights is not None:  # of the utterance: weighed by class, smoothing would favour the rare ones
            losses = losses * (batch.votes @ self.class_weights)
        return losses.mean()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The learned parameters and their learning rates; an encoder that is not frozen has a rate of its own."""
        fresh: list[nn.Parameter] = []
        pretrained: list[nn.Parameter] = []
        heads = [head for head in (self.tag_head, self.emotion_head) if head is not None]
        helping = [named for head in heads for named in head.named_parameters()]
        for name, parameter in (*self.trained.named_parameters(), *helping):
            if parameter.requires_grad:
                (pretrained if self.stage == "text" and name.startswith("encoder.") else fresh).append(parameter)
        groups = [(fresh, self.settings.learning_rate), (pretrained, self.settings.encoder_learning_rate)]
        return [{"params": parameters, "lr": rate} for parameters, rate in groups if parameters]


def _shares_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of logits [batch, classes] with the shares of each class; utterances without any do not count."""
    labelled = shares.sum(dim=1) > 0
    losses = cross_entropy(logits.float(), shares, reduction="none")
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def start_head(stage: Stage, networks: Networks, learning: Sequence[Utterance]) -> None:
    """Sets the bias of a regressor to the mean of its labels, which saves the first epochs."""
    if stage == "emotion":
        return
    labels = [score for u in learning if (score := u.arousal if stage == "audio" else u.valence) is not None]
    head = networks.audio.head if stage == "audio" else networks.text.head
    if labels:
        nn.init.constant_(head.get_submodule("linear").get_parameter("bias"), sum(labels) / len(labels))


def regression_loss(kind: str, predicted: Tensor, truth: Tensor) -> Tensor:
    """`rmse` of the batch, as published, or `ccc`: 1 - CCC, which rewards spread too. 0 for an empty batch."""
    if not len(truth):
        return predicted.sum()
    if kind == "rmse":
        return ((predicted - truth).square().mean() + 1e-8).sqrt()  # the gradient of a root is infinite at 0
    covariance = ((predicted - predicted.mean()) * (truth - truth.mean())).mean()
    spread = predicted.var(correction=0) + truth.var(correction=0) + (predicted.mean() - truth.mean()).square()
    return 1 - 2 * covariance / (spread + 1e-8)


def class_weights(learning: Sequence[Utterance], classes: Sequence[str]) -> Tensor:
    """Inverse frequency of each class [classes], 1 on average over the utterances; 0 for a class without utterances."""
    counts = torch.tensor([label_shares(u, classes) for u in learning]).sum(dim=0)
    present = counts > 0
    return torch.where(present, counts.sum() / (counts.where(present, 1.0) * present.sum()), 0.0)


def drop_modalities(outputs: Outputs, settings: EmotionStageConfig) -> None:
    """Masks, in place, audio or text of some utterances that have both, to learn from either alone."""
    both = outputs.audio_mask.any(dim=1) & outputs.text_mask.any(dim=1)
    draw = torch.rand(len(both), device=both.device)
    outputs.audio_mask &= ~(both & (draw < settings.drop_audio))[:, None]
    outputs.text_mask &= ~(both & (draw > 1 - settings.drop_text))[:, None]
