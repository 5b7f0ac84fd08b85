"""Trains the heads on frozen encoders: the one for arousal, and a classifier that adds the logits of both modalities.

Of a clip these heads read only the mean of its embedding. So the encoders run once over every clip and some re-recorded
copies of it, and hundreds of steps on the means take seconds: leaving out each speaker in turn is affordable.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from app.engine.detector import SpeechDetector

from ..data.batches import by_length, collate, label_shares
from ..data.examples import Example, Examples, heard
from ..data.microphone import cropped, recorded_otherwise
from ..data.utterance import Utterance
from ..networks.model import EitherEmotion
from ..networks.networks import Networks
from ..networks.pooling import MeanPool
from .loss import regression_loss

COPIES = 20  # re-recorded copies of each clip
WEAK_COPIES = 4  # of one without an emotion of its own: there are more of these clips, and they are drawn less often
CROPPED = 0.35  # share of the copies of which a part of one to two and a half seconds is taken
WEAK = 0.2  # share of the draws that take a clip without an emotion of its own, but with shares of several
ORIGINAL = 0.4  # share of the draws that take the clip itself, not a copy
STEPS = 800
RUNS = 3  # trained one after the other; the weights are their mean, which depends less on what was drawn
BATCH = 32  # clips per step, and as many transcripts
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
# Label smoothing. More for clips: there are few, and the speakers overact.
AUDIO_SMOOTHING = 0.3
TEXT_SMOOTHING = 0.1

NO_TOKENS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Clips:
    """Clips and the means of their embeddings: f32 [clips, 1 + copies, width], the clip itself first."""

    utterances: list[Utterance]
    means: Tensor

    def without(self, speakers: Collection[str]) -> "Clips":
        """The clips of the other speakers."""
        kept = [row for row, utterance in enumerate(self.utterances) if utterance.speaker not in speakers]
        return Clips([self.utterances[row] for row in kept], self.means[kept])


@dataclass(frozen=True)
class Transcripts:
    """Transcripts and their embeddings, each f32 [tokens, width]."""

    utterances: list[Utterance]
    embeddings: list[Tensor]


@torch.no_grad()
def embed_clips(
    networks: Networks, utterances: Sequence[Utterance], seed: int, detector: SpeechDetector | None = None
) -> Clips:
    """Runs the audio encoder over what it gets of each clip and of `COPIES` re-recorded copies of it.

    Raises DataError.
    """
    examples = Examples(utterances, None, networks.config.audio.max_frames, detector)
    means = []
    for index in tqdm(range(len(examples)), desc="clips", mininterval=1.0, leave=False):
        samples = examples.decoded(utterances[index])
        random = np.random.default_rng((seed, index))
        waveforms = [heard(samples, examples.audio, detector)]
        copies = COPIES if utterances[index].emotion is not None else min(WEAK_COPIES, COPIES)
        for _ in range(copies):
            copy = heard(recorded_otherwise(samples, random), examples.audio, detector)
            waveforms.append(cropped(copy, random.uniform(1.0, 2.5), random) if random.random() < CROPPED else copy)
        made = [Example(utterances[index], waveform, NO_TOKENS) for waveform in waveforms]
        batch = collate(made, networks.config.emotion.classes)
        _, embedding, mask = networks.audio(batch.waveform, batch.waveform_length)
        mean = embedding.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        means.append(mean[[0, *(1 + k % copies for k in range(COPIES))]])  # as many rows for each clip
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
    nn.init.constant_(head.linear.bias, float(arousal.nanmean()))
    random = np.random.default_rng(seed)

    def loss() -> Tensor:
        rows, means = draw_clips(clips, random)
        rated = ~arousal[rows].isnan()
        return regression_loss("ccc", head.of_mean(means)[rated, 0], arousal[rows][rated])

    descend(head, loss, seed)


def train_emotion(networks: Networks, clips: Clips, transcripts: Transcripts, seed: int) -> None:
    """Fits the classifier: the audio part on clips, the text part on transcripts, and how both are joined.

    That is fitted on clips paired with transcripts of other utterances, for which `expected` says what a person would
    answer; half of the clips get a transcript of their own emotion or a neutral one. Transcripts are drawn so that
    emotions are equally frequent.
    """
    classifier, classes = networks.emotion, networks.config.emotion.classes
    assert isinstance(classifier, EitherEmotion)
    fit_scale(classifier.audio, clips)
    for parameter in classifier.parameters():  # it may have learned from a speaker who is left out now
        nn.init.zeros_(parameter)
    for parameter in (classifier.audio_scale, classifier.text_scale, classifier.neutral_power):
        nn.init.ones_(parameter)
    clip_labels = torch.tensor([label_shares(utterance, classes) for utterance in clips.utterances])
    transcript_labels = torch.tensor([label_shares(utterance, classes) for utterance in transcripts.utterances])
    emotions = np.array([utterance.emotion or "" for utterance in transcripts.utterances])
    weights = evened_out(transcripts.utterances)
    rows_of = {name: np.flatnonzero(emotions == name) for name in classes}
    paired = torch.tensor([utterance.emotion is not None for utterance in clips.utterances])
    random = np.random.default_rng(seed)

    def text_logits(rows: Sequence[int]) -> Tensor:
        tokens = pad_sequence([transcripts.embeddings[row] for row in rows], batch_first=True)
        logits: Tensor = classifier.text(tokens, torch.tensor([len(transcripts.embeddings[row]) for row in rows]))
        return logits

    def row_beside(emotion: str | None) -> int:
        """A transcript with a clear emotion, to pair with a clip of `emotion`."""
        wanted = (emotion, networks.config.emotion.neutral, None, None)[random.integers(4)]
        name = wanted if wanted is not None and len(rows_of[wanted]) else random.choice(present)
        return int(random.choice(rows_of[name]))

    present = [name for name in classes if len(rows_of[name])]

    def loss() -> Tensor:
        rows, means = draw_clips(clips, random)
        from_audio = classifier.audio.of_mean(means)
        drawn = random.choice(len(weights), BATCH, p=weights).tolist()
        from_text = text_logits(drawn)
        beside = [row_beside(clips.utterances[row].emotion) for row in rows]
        with torch.no_grad():
            from_beside = text_logits(beside)
        both = classifier.fused(from_audio.detach(), from_beside)[paired[rows]]
        wanted = expected(clip_labels[rows], transcript_labels[beside], classifier.neutral)[paired[rows]]
        return (
            cross_entropy(from_audio, clip_labels[rows], label_smoothing=AUDIO_SMOOTHING)
            + cross_entropy(from_text, transcript_labels[drawn], label_smoothing=TEXT_SMOOTHING)
            + cross_entropy(both, wanted, label_smoothing=TEXT_SMOOTHING)
        )

    descend(classifier, loss, seed)


def evened_out(utterances: Sequence[Utterance]) -> NDArray[np.float64]:
    """Shares of the draws [utterances] by which each corpus is drawn equally often, and each emotion within it.

    Utterances without a clear emotion count as a class of their own, half as often; those without any label not at all.
    """
    kinds = np.array([f"{u.corpus} {u.emotion or ''}" for u in utterances])
    _, members, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    unclear = np.array([u.emotion is None for u in utterances])
    labelled = np.array([bool(u.emotion or u.votes) for u in utterances])
    weights = np.where(unclear, 0.5, 1.0) * labelled / counts[members]
    return np.asarray(weights / weights.sum())


def expected(audio: Tensor, text: Tensor, neutral: Tensor) -> Tensor:
    """What a person would answer to a voice and words, as shares [batch, classes] of what each expresses by itself.

    Where one is neutral, the other counts; where both express an emotion, both do, to equal parts.
    """
    expressed = [shares * ~neutral for shares in (audio, text)]
    total = expressed[0] + expressed[1]
    both_neutral = 1 - (1 - (audio * neutral).sum(dim=1)) - (1 - (text * neutral).sum(dim=1))
    rest = both_neutral.clamp(min=0)[:, None] * neutral
    shares = total / total.sum(dim=1, keepdim=True).clamp(min=1.0) + rest
    return shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-6)


def fit_scale(pool: MeanPool, clips: Clips) -> None:
    """Sets the scale of `pool` so that the means of these clips have mean 0 and deviation 1."""
    spread, centre = torch.std_mean(clips.means.flatten(0, 1), dim=0)
    pool.centre.copy_(centre)
    pool.spread.copy_(spread)


def draw_clips(clips: Clips, random: np.random.Generator) -> tuple[NDArray[np.int64], Tensor]:
    """Rows of a batch of clips, and a mean for each [batch, width]: the clip's own, or that of one of its copies."""
    weak = np.array([utterance.emotion is None for utterance in clips.utterances])
    shares = np.where(weak, WEAK, 1 - WEAK) if weak.any() else np.ones(len(weak))
    shares /= np.where(weak, weak.sum(), (~weak).sum())
    rows = random.choice(len(weak), size=BATCH, p=shares / shares.sum())
    copies = np.where(random.random(BATCH) < ORIGINAL, 0, random.integers(1, clips.means.shape[1], size=BATCH))
    return rows, clips.means[rows, copies]


def descend(network: nn.Module, loss: Callable[[], Tensor], seed: int) -> None:
    """Takes `STEPS` steps of AdamW, `RUNS` times from the same start; leaves `network` with the average of its weights
    over the second half of all of them.
    """
    torch.manual_seed(seed)
    network.train()
    average = AveragedModel(network)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    for run in range(RUNS):
        network.load_state_dict(start)
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step in tqdm(range(STEPS), desc=f"heads {run + 1}/{RUNS}", mininterval=1.0, leave=False):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
            if step >= STEPS // 2:
                average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())
    network.eval()
