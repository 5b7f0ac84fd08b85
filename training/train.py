"""Trains one stage: audio to arousal, text to valence, or both frozen embeddings to emotion.

The one loop is `train_stage`. The best checkpoint by the validation score is kept. Seeds are fixed, so that a run on
the same machine repeats itself.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from app.tokenizer import TextTokenizer
from training.augment import mask_frequencies
from training.config import EmotionStageConfig, Stage, StageConfig
from training.data import Batch, Borrowing, Bucketed, DataError, Examples, loader
from training.encoder import TOKENIZER_FILE
from training.metrics import ccc, confusion, rmse, uar
from training.networks import Networks, Outputs, load_stage, save_stage
from training.predict import predict
from training.utterance import Utterance


def train_stage(
    stage: Stage, networks: Networks, utterances: Sequence[Utterance], run: Path, device: torch.device
) -> float:
    """Trains `stage` of `networks` on the utterances that have its labels and returns the best validation score.

    Writes `<stage>.safetensors` and, each epoch, a line of `log.jsonl` in `run`; leaves the best weights in `networks`.
    `emotion` needs the other two networks trained; they stay as they are. Raises DataError where there is nothing to
    learn, or the loss is no number.
    """
    settings = networks.config.train.stage(stage)
    seed = networks.config.train.seed
    torch.manual_seed(seed)
    learning, held_out = (for_stage(stage, utterances, split) for split in ("train", "validation"))
    if not learning or not held_out:
        raise DataError(f"Stage {stage}: {len(learning)} utterances to train on and {len(held_out)} to validate on.")
    networks.to(device)
    model = networks.stage(stage)
    prepare_head(stage, networks, learning)
    examples = make_examples(stage, networks, repeated(learning, settings), run)
    validation = make_examples(stage, networks, held_out, run)
    order = Bucketed(examples.utterances, settings.batch_size, seed, settings.limit)
    batches = loader(examples, networks.config.emotion.classes, order)
    loss_of = make_loss(stage, networks, learning, device)
    optimiser = torch.optim.Adam(parameter_groups(stage, networks, settings))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, settings.decay)

    best, since_best = float("-inf"), 0
    for epoch in range(settings.epochs):
        began = time.monotonic()
        networks.eval()  # what is frozen runs without dropout
        model.train()
        total = 0.0
        examples.epoch = order.epoch = epoch
        progress = tqdm(batches, desc=f"{stage} {epoch + 1}/{settings.epochs}", mininterval=1.0, leave=False)
        for step, batch in enumerate(progress, start=1):
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = loss_of(batch.to(device))
            if not torch.isfinite(loss):
                raise DataError(f"The loss is {loss.item()} in the batch of {', '.join(batch.ids)}.")
            optimiser.zero_grad()
            loss.backward()
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimiser.step()
            total += loss.item()
            progress.set_postfix(loss=f"{total / step:.4f}")
        schedule.step()

        scores = validate(stage, networks, validation, device)
        since_best = 0 if scores["score"] > best else since_best + 1
        if since_best == 0:
            best = scores["score"]
            save_stage(run, networks, stage)
        line = {"stage": stage, "epoch": epoch + 1, "loss": total / step, **scores, "seconds": time.monotonic() - began}
        log(run, line)
        if since_best >= settings.patience:
            break
    load_stage(run, networks, stage)
    networks.eval()
    return best


def for_stage(stage: Stage, utterances: Sequence[Utterance], split: str) -> list[Utterance]:
    """The utterances of `split` that have what `stage` learns from."""
    needs: dict[Stage, Callable[[Utterance], bool]] = {
        "audio": lambda u: u.audio is not None and u.arousal is not None,
        "text": lambda u: u.transcript is not None and u.valence is not None,
        "emotion": lambda u: (u.audio is not None or u.transcript is not None) and u.emotion is not None,
    }
    return [utterance for utterance in utterances if utterance.split == split and needs[stage](utterance)]


def repeated(utterances: Sequence[Utterance], settings: StageConfig) -> list[Utterance]:
    """Each utterance as often as its corpus counts."""
    return [utterance for utterance in utterances for _ in range(settings.repeat.get(utterance.corpus, 1))]


def make_examples(stage: Stage, networks: Networks, utterances: Sequence[Utterance], run: Path) -> Examples:
    """The utterances, decoded and tokenised as far as the stage needs."""
    config = networks.config
    tokenizer = None if stage == "audio" else TextTokenizer(run / TOKENIZER_FILE, config.text.max_tokens)
    if stage == "text":
        utterances = [utterance.model_copy(update={"audio": None}) for utterance in utterances]
    settings = config.train.emotion
    if stage == "emotion" and settings.borrow_text > 0:
        return Borrowing(utterances, tokenizer, config.audio.max_frames, settings.borrow_text, config.train.seed)
    return Examples(utterances, tokenizer, config.audio.max_frames)


def prepare_head(stage: Stage, networks: Networks, learning: Sequence[Utterance]) -> None:
    """Starts a regressor at the mean of its labels, so that the first epochs are not spent on finding it."""
    if stage == "emotion":
        return
    labels = [u.arousal if stage == "audio" else u.valence for u in learning]
    head = networks.audio.head if stage == "audio" else networks.text.head
    nn.init.constant_(head.linear.bias, sum(label for label in labels if label is not None) / len(labels))


def parameter_groups(stage: Stage, networks: Networks, settings: StageConfig) -> list[dict[str, object]]:
    """What is learned and how fast: a pretrained encoder, where it is not frozen, at a rate of its own."""
    model = networks.stage(stage)
    if stage != "text":
        return [{"params": list(model.parameters()), "lr": settings.learning_rate}]
    encoder = [p for p in networks.text.encoder.parameters() if p.requires_grad]
    fresh = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    return [
        {"params": fresh, "lr": settings.learning_rate},
        {"params": encoder, "lr": settings.encoder_learning_rate},
    ]


def make_loss(
    stage: Stage, networks: Networks, learning: Sequence[Utterance], device: torch.device
) -> Callable[[Batch], Tensor]:
    """The stage's loss of a batch."""
    settings = networks.config.train.stage(stage)
    share = networks.config.train.audio.mask_frequencies

    def audio_loss(batch: Batch) -> Tensor:
        with torch.no_grad():
            features, frames = networks.audio.features(batch.waveform, batch.waveform_length)
            features = mask_frequencies(features, frames, share)
        return regression_loss(settings.loss, networks.audio.from_features(features, frames)[0], batch.arousal)

    def text_loss(batch: Batch) -> Tensor:
        return regression_loss(settings.loss, networks.text(batch.input_ids, batch.attention_mask)[0], batch.valence)

    emotion = networks.config.train.emotion
    weights = class_weights(learning, networks.config.emotion.classes).to(device) if emotion.class_weights else None

    def emotion_loss(batch: Batch) -> Tensor:
        with torch.no_grad():
            outputs = networks.embed(batch)
        drop_modalities(outputs, emotion)
        return cross_entropy(
            networks.classify(outputs), batch.emotion, weight=weights, label_smoothing=emotion.label_smoothing
        )

    return {"audio": audio_loss, "text": text_loss, "emotion": emotion_loss}[stage]


def regression_loss(kind: str, predicted: Tensor, truth: Tensor) -> Tensor:
    """`rmse` of the batch, as published, or `ccc`: 1 - CCC, which rewards spread as well as nearness."""
    predicted = predicted.float()
    error = (predicted - truth).square().mean()
    if kind == "rmse":
        return (error + 1e-8).sqrt()  # the slope of a root at 0 is infinite
    centred = (predicted - predicted.mean()) * (truth - truth.mean())
    spread = predicted.var(correction=0) + truth.var(correction=0) + (predicted.mean() - truth.mean()).square()
    return 1 - 2 * centred.mean() / (spread + 1e-8)


def class_weights(learning: Sequence[Utterance], classes: Sequence[str]) -> Tensor:
    """Inverse frequency of each class [classes], 1 on average over the utterances; 0 where a class does not occur."""
    counts = torch.tensor([sum(u.emotion == name for u in learning) for name in classes], dtype=torch.float32)
    present = counts > 0
    return torch.where(present, counts.sum() / (counts.clamp(min=1) * present.sum()), 0.0)


def drop_modalities(outputs: Outputs, settings: EmotionStageConfig) -> None:
    """Masks, in place, the voice or the words of some utterances that have both, so that one alone means something."""
    both = outputs.audio_mask.any(dim=1) & outputs.text_mask.any(dim=1)
    draw = torch.rand(len(both), device=both.device)
    outputs.audio_mask &= ~(both & (draw < settings.drop_audio))[:, None]
    outputs.text_mask &= ~(both & (draw > 1 - settings.drop_text))[:, None]


def validate(stage: Stage, networks: Networks, validation: Examples, device: torch.device) -> dict[str, float]:
    """The stage's figures on held-out utterances; `score` is what the best checkpoint is chosen by."""
    found = predict(networks, validation, stage, device)
    if stage == "emotion":
        matrix = confusion(found.emotion, found.logits.argmax(axis=1), found.logits.shape[1])
        return {"score": uar(matrix), "accuracy": float(matrix.trace() / matrix.sum())}
    truth, predicted = (found.true_arousal, found.arousal) if stage == "audio" else (found.true_valence, found.valence)
    return {"score": ccc(truth, predicted), "rmse": rmse(truth, predicted)}


def log(run: Path, line: Mapping[str, object]) -> None:
    """Appends a line to the run's log and shows it."""
    rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in line.items()}
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded) + "\n")
    tqdm.write(" ".join(f"{key}={value}" for key, value in rounded.items()))
