"""Trains the heads on frozen encoders: the one for arousal, and a classifier that adds the logits of both modalities.

Of a clip these heads read only the mean of its embedding. So the encoders run once over every clip and some re-recorded
copies of it, and hundreds of steps on the means take seconds: leaving out each speaker in turn is affordable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ..data.batches import by_length, collate, label_shares
from ..data.examples import Examples
from ..data.microphone import recorded_otherwise
from ..data.utterance import Utterance
from ..networks.model import AddedEmotion
from ..networks.networks import Networks
from ..networks.pooling import MeanPool
from .loss import regression_loss

COPIES = 8  # re-recorded copies of each clip
ORIGINAL = 0.4  # share of the draws that take the clip itself, not a copy
STEPS = 800
BATCH = 32  # clips per step, and as many transcripts
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
# Label smoothing. More for clips: there are few, and the speakers overact.
AUDIO_SMOOTHING = 0.3
TEXT_SMOOTHING = 0.1


@dataclass(frozen=True)
class Clips:
    """Clips and the means of their embeddings: f32 [clips, 1 + copies, width], the clip itself first."""

    utterances: list[Utterance]
    means: Tensor

    def without(self, speaker: str) -> "Clips":
        """The clips of the other speakers."""
        kept = [row for row, utterance in enumerate(self.utterances) if utterance.speaker != speaker]
        return Clips([self.utterances[row] for row in kept], self.means[kept])


@dataclass(frozen=True)
class Transcripts:
    """Transcripts and their embeddings, each f32 [tokens, width]."""

    utterances: list[Utterance]
    embeddings: list[Tensor]


@torch.no_grad()
def embed_clips(networks: Networks, utterances: Sequence[Utterance], seed: int) -> Clips:
    """Runs the audio encoder over each clip and `COPIES` re-recorded copies of it. Raises DataError."""
    examples = Examples(utterances, None, networks.config.audio.max_frames)
    means = []
    for index in tqdm(range(len(examples)), desc="clips", mininterval=1.0, leave=False):
        example = examples[index]
        random = np.random.default_rng((seed, index))
        waveforms = [example.waveform, *(recorded_otherwise(example.waveform, random) for _ in range(COPIES))]
        batch = collate([replace(example, waveform=one) for one in waveforms], networks.config.emotion.classes)
        _, embedding, mask = networks.audio(batch.waveform, batch.waveform_length)
        means.append(embedding.sum(dim=1) / mask.sum(dim=1, keepdim=True))
    return Clips(list(utterances), torch.stack(means))


@torch.no_grad()
def embed_transcripts(networks: Networks, examples: Examples) -> Transcripts:
    """Runs the text network over each transcript."""
    embeddings: dict[int, Tensor] = {}
    for rows in tqdm(by_length(examples.utterances, 32), desc="transcripts", mininterval=1.0, leave=False):
        batch = collate([examples[row] for row in rows], networks.config.emotion.classes)
        _, embedding = networks.text(batch.input_ids, batch.attention_mask)
        for row, tokens, mask in zip(rows, embedding, batch.attention_mask.bool(), strict=True):
            embeddings[row] = tokens[mask].clone()
    return Transcripts(list(examples.utterances), [embeddings[row] for row in range(len(embeddings))])


def train_arousal(networks: Networks, clips: Clips, seed: int) -> None:
    """Fits the head for arousal to the labels of the clips, by CCC."""
    head = networks.audio.head
    assert isinstance(head, MeanPool)
    arousal = torch.tensor([utterance.arousal or float("nan") for utterance in clips.utterances])
    fit_scale(head, clips)
    nn.init.zeros_(head.linear.weight)
    nn.init.constant_(head.linear.bias, float(arousal.mean()))
    random = np.random.default_rng(seed)

    def loss() -> Tensor:
        rows, means = draw_clips(clips, random)
        return regression_loss("ccc", head.of_mean(means)[:, 0], arousal[rows])

    descend(head, loss, seed)


def train_emotion(networks: Networks, clips: Clips, transcripts: Transcripts, seed: int) -> None:
    """Fits an added classifier: the audio part on clips, the text part on transcripts, and the weight of the text part
    when both are present.

    That weight is fitted on clips paired with transcripts of other utterances: a third have the clip's emotion, a third
    are neutral and a third are random. Transcripts of rare emotions are drawn more often, by the root of their number.
    """
    classifier, classes = networks.emotion, networks.config.emotion.classes
    assert isinstance(classifier, AddedEmotion)
    fit_scale(classifier.audio, clips)
    for parameter in classifier.parameters():  # it may have learned from a speaker who is left out now
        nn.init.zeros_(parameter)
    nn.init.ones_(classifier.beside)
    clip_labels = torch.tensor([label_shares(utterance, classes) for utterance in clips.utterances])
    transcript_labels = torch.tensor([label_shares(utterance, classes) for utterance in transcripts.utterances])
    emotions = np.array([utterance.emotion or "" for utterance in transcripts.utterances])
    names, members, counts = np.unique(emotions, return_inverse=True, return_counts=True)
    weights = np.where(transcript_labels.sum(dim=1) > 0, counts[members] ** -0.5, 0.0)
    weights /= weights.sum()
    every_row = np.arange(len(emotions))
    rows_of = {name: np.flatnonzero(emotions == name) for name in names}
    random = np.random.default_rng(seed)

    def text_logits(rows: Sequence[int]) -> Tensor:
        tokens = pad_sequence([transcripts.embeddings[row] for row in rows], batch_first=True)
        logits: Tensor = classifier.text(tokens, torch.tensor([len(transcripts.embeddings[row]) for row in rows]))
        return logits

    def row_beside(emotion: str | None) -> int:
        """A transcript to pair with a clip of `emotion`."""
        wanted = (emotion, "neutral", None)[random.integers(3)]
        return int(random.choice(rows_of.get(wanted, every_row)))

    def loss() -> Tensor:
        rows, means = draw_clips(clips, random)
        from_audio = classifier.audio.of_mean(means)
        drawn = random.choice(len(weights), BATCH, p=weights).tolist()
        from_text = text_logits(drawn)
        with torch.no_grad():
            beside = text_logits([row_beside(clips.utterances[row].emotion) for row in rows])
        both = from_audio.detach() + classifier.beside * beside
        return (
            cross_entropy(from_audio, clip_labels[rows], label_smoothing=AUDIO_SMOOTHING)
            + cross_entropy(from_text, transcript_labels[drawn], label_smoothing=TEXT_SMOOTHING)
            + cross_entropy(both, clip_labels[rows], label_smoothing=AUDIO_SMOOTHING)
        )

    descend(classifier, loss, seed)


def fit_scale(pool: MeanPool, clips: Clips) -> None:
    """Sets the scale of `pool` so that the means of these clips have mean 0 and deviation 1."""
    spread, centre = torch.std_mean(clips.means.flatten(0, 1), dim=0)
    pool.centre.copy_(centre)
    pool.spread.copy_(spread)


def draw_clips(clips: Clips, random: np.random.Generator) -> tuple[NDArray[np.int64], Tensor]:
    """Rows of a batch of clips, and a mean for each [batch, width]: the clip's own, or that of one of its copies."""
    rows = random.integers(len(clips.utterances), size=BATCH)
    copies = np.where(random.random(BATCH) < ORIGINAL, 0, random.integers(1, clips.means.shape[1], size=BATCH))
    return rows, clips.means[rows, copies]


def descend(network: nn.Module, loss: Callable[[], Tensor], seed: int) -> None:
    """Takes `STEPS` steps of AdamW; leaves `network` with the average of its weights over the second half of them."""
    torch.manual_seed(seed)
    network.train()
    average = AveragedModel(network)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in tqdm(range(STEPS), desc="heads", mininterval=1.0, leave=False):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        if step >= STEPS // 2:
            average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())
    network.eval()
