"""Trains one stage: audio to arousal, text to valence, or both frozen embeddings to emotion.

The one loop is `train_stage`. It keeps the weights of the best epoch. A run is reproducible from its seed, and a
resumed run ends with the same weights as an uninterrupted one.
"""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..config import Stage, StageConfig
from ..data.batches import Batch, Bucketed, by_length, loader
from ..data.examples import DataError, Examples
from ..data.utterance import Utterance
from ..metrics import ccc, confusion, rmse, uar
from ..networks.files import load_detector, load_stage, save_stage
from ..networks.networks import Networks
from .loss import Learner, regression_loss, start_head
from .predict import Predictions, predict
from .resume import Checkpoint, Log
from .stages import for_stage, make_tokenizer, repeated, training_examples

VALIDATION_BATCH = 32


def train_stage(
    stage: Stage,
    networks: Networks,
    utterances: Sequence[Utterance],
    run: Path,
    accelerator: Accelerator,
    resume: bool = False,
    fresh: bool = True,
) -> float:
    """Trains `stage` of `networks` on the utterances that have its labels and returns the best epoch's score.

    Writes `<stage>.safetensors`, the checkpoint for `resume` and the log to `run`; leaves the best weights in
    `networks`. `emotion` needs the other two networks trained, and does not change them. `fresh` networks are not
    trained yet. Raises DataError if there is nothing to train or validate on, or the loss is not finite.
    """
    config, settings = networks.config, networks.config.train.stage(stage)
    learning = for_stage(stage, utterances, "train", settings)
    held_out = for_stage(stage, utterances, "validation")
    if not learning or not held_out:
        raise DataError(f"Stage {stage}: {len(learning)} utterances to train on and {len(held_out)} to validate on.")
    if fresh:
        start_head(stage, networks, learning)
    examples = training_examples(stage, networks, repeated(learning, settings), run)
    validation = Examples(held_out, make_tokenizer(stage, networks, run), config.audio.max_frames, load_detector(run))
    try:
        order = Bucketed(
            examples.utterances,
            settings.batch_size,
            config.train.seed,
            settings.limit,
            balanced=config.emotion.classes if stage == "emotion" and config.train.emotion.balanced else (),
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
    except ValueError as error:
        raise DataError(f"Stage {stage}: {error}.") from error
    batches = loader(examples, config.emotion.classes, order, settings.accumulate, config.train.workers)
    if config.train.compile and (block := getattr(networks.stage(stage), "block", None)) is not None:
        block.compile(dynamic=True)
    learner = Learner(stage, networks, examples.utterances)
    groups = learner.parameter_groups()
    rates = [group["lr"] for group in groups]
    optimiser = make_optimiser(settings, groups)
    learner.to(accelerator.device)
    checkpoint = Checkpoint(run, stage, learner.learned, optimiser, accelerator.scaler)
    if resume:
        checkpoint.load()
    parallel, optimiser = accelerator.prepare(learner, optimiser)
    progress = checkpoint.progress
    log = Log(run, stage, progress.epoch) if accelerator.is_main_process else None

    while progress.epoch < settings.epochs and not progress.finished:
        began = time.monotonic()
        examples.epoch, order.epoch, order.start = progress.epoch, progress.epoch, progress.step
        parallel.train()
        bar = tqdm(
            batches,
            desc=f"{stage} {progress.epoch + 1}/{settings.epochs}",
            initial=progress.step,
            total=order.steps,
            mininterval=1.0,
            leave=False,
            disable=not accelerator.is_main_process,
        )
        for parts in bar:
            done = progress.epoch * order.steps + progress.step
            if progress.step % settings.checkpoint_steps == 0:
                if accelerator.is_main_process:
                    checkpoint.save()
                # From here on every draw follows from the seed and the step, so no random state need be saved.
                torch.manual_seed(hash((config.train.seed, done, accelerator.process_index)))
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * learning_rate_factor(settings, done, progress.epoch)
            loss = backward(accelerator, parallel, parts)
            if settings.clip_norm is not None:
                accelerator.clip_grad_norm_(learner.learned.parameters(), settings.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
            progress.step += 1
            progress.total += loss
            bar.set_postfix(loss=f"{progress.total / progress.step:.4f}")
            if log:
                log.step(done, loss)

        scores = validate(stage, networks, validation, accelerator)
        deciding = "score" if settings.choose_by == "score" else "validation_loss"
        if not math.isfinite(scores[deciding]):
            raise DataError(f"Stage {stage}: the validation {deciding} is {scores[deciding]}; look at its labels.")
        by = scores["score"] if settings.choose_by == "score" else 0.0, -scores["validation_loss"]
        progress.since_best = 0 if progress.epoch == 0 or by > progress.best else progress.since_best + 1
        if progress.since_best == 0:
            progress.best, progress.score = by, scores["score"]
            if accelerator.is_main_process:
                save_stage(run, networks, stage)
        if log:
            seconds = time.monotonic() - began
            log.epoch(
                {"epoch": progress.epoch + 1, "loss": progress.total / progress.step, **scores, "seconds": seconds}
            )
        progress.epoch, progress.step, progress.total = progress.epoch + 1, 0, 0.0
        progress.finished = progress.since_best >= settings.patience or progress.epoch == settings.epochs
        if accelerator.is_main_process:
            checkpoint.save()
    accelerator.wait_for_everyone()
    load_stage(run, networks, stage)
    networks.eval()
    return progress.score


def backward(accelerator: Accelerator, learner: torch.nn.Module, parts: list[Batch]) -> float:
    """Adds the gradient of a batch to the parameters and returns its loss. Raises DataError if it is not finite."""
    size = sum(len(part.ids) for part in parts)
    total = 0.0
    for number, part in enumerate(parts, start=1):
        # Processes exchange gradients once per batch.
        with accelerator.no_sync(learner) if number < len(parts) else nullcontext(), accelerator.autocast():
            loss = learner(part.to(accelerator.device)) * (len(part.ids) / size)
        if not torch.isfinite(loss):
            raise DataError(f"The loss is {loss.item()} in the batch of {', '.join(part.ids)}.")
        accelerator.backward(loss)
        total += loss.item()
    return total


def learning_rate_factor(settings: StageConfig, step: int, epoch: int) -> float:
    """The factor on the learning rate: rises over the warm-up, falls by `decay` each epoch."""
    return float(min(1.0, (step + 1) / max(1, settings.warmup_steps)) * settings.decay**epoch)


def make_optimiser(settings: StageConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Adam, as published, or AdamW."""
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.Adam(groups)


def validate(stage: Stage, networks: Networks, validation: Examples, accelerator: Accelerator) -> dict[str, float]:
    """The stage's figures on held-out utterances, over all of them at once; `score` is CCC or UAR."""
    processes = accelerator.num_processes
    order = by_length(validation.utterances, batch_size=min(VALIDATION_BATCH, -(-len(validation) // processes)))
    own = order[accelerator.process_index :: processes]
    found = predict(networks, validation, own, stage, accelerator.device)
    if processes > 1:
        found = Predictions.joined(gather_object([found]))
    settings = networks.config.train.stage(stage)
    if stage == "emotion":
        losses = cross_entropy(torch.from_numpy(found.logits), torch.from_numpy(found.shares), reduction="none")
        known = found.emotion >= 0  # a soft label has no class to compare with
        matrix = confusion(found.emotion[known], found.logits[known].argmax(axis=1), found.logits.shape[1])
        accuracy = float(matrix.trace() / matrix.sum())
        return {"score": uar(matrix), "validation_loss": losses.mean().item(), "accuracy": accuracy}
    truth, predicted = (found.true_arousal, found.arousal) if stage == "audio" else (found.true_valence, found.valence)
    loss = regression_loss(settings.loss, torch.from_numpy(predicted), torch.from_numpy(truth)).item()
    return {"score": ccc(truth, predicted), "validation_loss": loss, "rmse": rmse(truth, predicted)}
