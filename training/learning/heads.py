"""Trains what reads the embeddings of frozen encoders: the head for arousal and an added classifier.

Of a voice these see the mean of its embedding alone. So the encoders run once, over every clip and some other
recordings of it, and hundreds of steps on their means take seconds: each speaker in turn can be left out.
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

COPIES = 8  # other recordings of each clip
AS_IT_IS = 0.4  # share of the draws that take the clip itself
STEPS = 800
BATCH = 32  # voices a step, and as many comments
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
VOICE_SMOOTHING = 0.3  # of the labels: few voices, and they overact
WORD_SMOOTHING = 0.1


@dataclass(frozen=True)
class Voices:
    """Clips and the mean of their embeddings: f32 [clips, 1 + copies, width], the clip itself first."""

    utterances: list[Utterance]
    means: Tensor

    def without(self, speaker: str) -> "Voices":
        """Those of the other speakers."""
        kept = [row for row, utterance in enumerate(self.utterances) if utterance.speaker != speaker]
        return Voices([self.utterances[row] for row in kept], self.means[kept])


@dataclass(frozen=True)
class Comments:
    """Texts and their embeddings, each f32 [tokens, width]."""

    utterances: list[Utterance]
    embeddings: list[Tensor]


@torch.no_grad()
def hear(networks: Networks, utterances: Sequence[Utterance], seed: int) -> Voices:
    """Runs the audio encoder over each clip and `COPIES` other recordings of it. Raises DataError."""
    examples = Examples(utterances, None, networks.config.audio.max_frames)
    means = []
    for index in tqdm(range(len(examples)), desc="hear", mininterval=1.0, leave=False):
        example = examples[index]
        random = np.random.default_rng((seed, index))
        clips = [example.waveform, *(recorded_otherwise(example.waveform, random) for _ in range(COPIES))]
        batch = collate([replace(example, waveform=clip) for clip in clips], networks.config.emotion.classes)
        _, embedding, mask = networks.audio(batch.waveform, batch.waveform_length)
        means.append(embedding.sum(dim=1) / mask.sum(dim=1, keepdim=True))
    return Voices(list(utterances), torch.stack(means))


@torch.no_grad()
def read(networks: Networks, examples: Examples) -> Comments:
    """Runs the text network over each transcript."""
    embeddings: dict[int, Tensor] = {}
    for rows in tqdm(by_length(examples.utterances, 32), desc="read", mininterval=1.0, leave=False):
        batch = collate([examples[row] for row in rows], networks.config.emotion.classes)
        _, embedding = networks.text(batch.input_ids, batch.attention_mask)
        for row, tokens, mask in zip(rows, embedding, batch.attention_mask.bool(), strict=True):
            embeddings[row] = tokens[mask].clone()
    return Comments(list(examples.utterances), [embeddings[row] for row in range(len(embeddings))])


def train_arousal(networks: Networks, voices: Voices, seed: int) -> None:
    """Fits the head for arousal on the voices' labels, by CCC."""
    head = networks.audio.head
    assert isinstance(head, MeanPool)
    arousal = torch.tensor([utterance.arousal or float("nan") for utterance in voices.utterances])
    fit_scale(head, voices)
    nn.init.zeros_(head.linear.weight)
    nn.init.constant_(head.linear.bias, float(arousal.mean()))
    random = np.random.default_rng(seed)

    def loss() -> Tensor:
        rows, means = draw_voices(voices, random)
        return regression_loss("ccc", head.of_mean(means)[:, 0], arousal[rows])

    descend(head, loss, seed)


def train_emotion(networks: Networks, voices: Voices, comments: Comments, seed: int) -> None:
    """Fits an added classifier: the voice on voices, the words on comments, and how much words weigh beside a voice.

    That weight is fitted on voices with comments that they never spoke: a third read as the voice sounds, a third are
    neutral and a third are any. Comments of rare emotions are drawn more often, by the root of their number.
    """
    classifier, classes = networks.emotion, networks.config.emotion.classes
    assert isinstance(classifier, AddedEmotion)
    fit_scale(classifier.audio, voices)
    for parameter in classifier.parameters():  # nothing may stay of the voices that it learned from before
        nn.init.zeros_(parameter)
    nn.init.ones_(classifier.beside)
    heard = torch.tensor([label_shares(utterance, classes) for utterance in voices.utterances])
    read_as = torch.tensor([label_shares(utterance, classes) for utterance in comments.utterances])
    readings = np.array([utterance.emotion or "" for utterance in comments.utterances])
    names, members, counts = np.unique(readings, return_inverse=True, return_counts=True)
    weights = np.where(read_as.sum(dim=1) > 0, counts[members] ** -0.5, 0.0)
    weights /= weights.sum()
    everything = np.arange(len(readings))
    rows_of = {name: np.flatnonzero(readings == name) for name in names}
    random = np.random.default_rng(seed)

    def words(rows: Sequence[int]) -> Tensor:
        tokens = pad_sequence([comments.embeddings[row] for row in rows], batch_first=True)
        logits: Tensor = classifier.text(tokens, torch.tensor([len(comments.embeddings[row]) for row in rows]))
        return logits

    def borrowed(emotion: str | None) -> int:
        reading = (emotion, "neutral", None)[random.integers(3)]
        return int(random.choice(rows_of.get(reading, everything)))

    def loss() -> Tensor:
        rows, means = draw_voices(voices, random)
        spoken = classifier.audio.of_mean(means)
        alone = random.choice(len(weights), BATCH, p=weights).tolist()
        said = words(alone)
        with torch.no_grad():
            beside = words([borrowed(voices.utterances[row].emotion) for row in rows])
        return (
            cross_entropy(spoken, heard[rows], label_smoothing=VOICE_SMOOTHING)
            + cross_entropy(said, read_as[alone], label_smoothing=WORD_SMOOTHING)
            + cross_entropy(spoken.detach() + classifier.beside * beside, heard[rows], label_smoothing=VOICE_SMOOTHING)
        )

    descend(classifier, loss, seed)


def fit_scale(pool: MeanPool, voices: Voices) -> None:
    """Makes the scaled means of these voices 0 on average, with deviation 1."""
    spread, centre = torch.std_mean(voices.means.flatten(0, 1), dim=0)
    pool.centre.copy_(centre)
    pool.spread.copy_(spread)


def draw_voices(voices: Voices, random: np.random.Generator) -> tuple[NDArray[np.int64], Tensor]:
    """Rows of a batch of voices, and a mean for each [batch, width]: the clip's own, or another recording's."""
    rows = random.integers(len(voices.utterances), size=BATCH)
    copies = np.where(random.random(BATCH) < AS_IT_IS, 0, random.integers(1, voices.means.shape[1], size=BATCH))
    return rows, voices.means[rows, copies]


def descend(network: nn.Module, loss: Callable[[], Tensor], seed: int) -> None:
    """`STEPS` steps of AdamW on `network`, which is left with the average of its weights over the second half."""
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
