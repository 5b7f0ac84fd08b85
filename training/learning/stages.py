"""The data of each stage: the utterances that have its labels, as examples for training."""

from collections.abc import Callable, Sequence
from pathlib import Path

from app.text import TextTokenizer

from ..config import Stage, StageConfig
from ..data.examples import TrainingExamples
from ..data.utterance import Split, Utterance
from ..networks.files import load_detector
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE


def for_stage(
    stage: Stage, utterances: Sequence[Utterance], split: Split, settings: StageConfig | None = None
) -> list[Utterance]:
    """The utterances of `split` with the modality and labels of `stage`; the text stage gets them without audio.

    With `settings` the regressors also take utterances without a score that have labels for a second loss.
    """
    tags, emotions = (settings.tags_weight > 0, settings.emotion_weight > 0) if settings else (False, False)

    def helps(u: Utterance) -> bool:
        return (tags and bool(u.tags)) or (emotions and bool(u.emotion or u.votes))

    needs: dict[Stage, Callable[[Utterance], bool]] = {
        "audio": lambda u: u.audio is not None and (u.arousal is not None or helps(u)),
        "text": lambda u: u.transcript is not None and (u.valence is not None or helps(u)),
        "emotion": lambda u: (u.audio is not None or u.transcript is not None) and bool(u.emotion or u.votes),
    }
    chosen = [utterance for utterance in utterances if utterance.split == split and needs[stage](utterance)]
    if stage == "text":
        return [utterance.model_copy(update={"audio": None}) for utterance in chosen]
    return chosen


def repeated(utterances: Sequence[Utterance], settings: StageConfig) -> list[Utterance]:
    """Each utterance as often as its corpus is repeated."""
    return [utterance for utterance in utterances for _ in range(settings.repeat.get(utterance.corpus, 1))]


def training_examples(stage: Stage, networks: Networks, utterances: Sequence[Utterance], run: Path) -> TrainingExamples:
    """The utterances as augmented examples for the stage."""
    config = networks.config
    return TrainingExamples(
        utterances,
        make_tokenizer(stage, networks, run),
        config.audio.max_frames,
        config.train.augment,
        config.train.seed,
        load_detector(run),
    )


def make_tokenizer(stage: Stage, networks: Networks, run: Path) -> TextTokenizer | None:
    """The run's tokenizer; None for the audio stage."""
    return None if stage == "audio" else TextTokenizer(run / TOKENIZER_FILE, networks.config.text.max_tokens)
