"""The training loop against the published one, written out again from its description: plain torch, no Accelerate.

Published: Adam at 2e-5, which falls by a factor after each epoch (0.8 audio, 0.6 text, 0.8 classifier); RMSE of the
batch for the regressors and cross-entropy for the classifier; both blocks frozen while the classifier learns.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.config import Config, Stage, load_preset
from training.data.batches import Batch, Bucketed, collate
from training.data.utterance import Utterance
from training.learning.loss import start_head
from training.learning.stages import for_stage, training_examples
from training.learning.train import train_stage
from training.networks.files import save_config
from training.networks.networks import Networks
from training.networks.text_encoder import TOKENIZER_FILE, load_encoder

DECAY = {"audio": 0.8, "text": 0.6, "emotion": 0.8}
EPOCHS = 3
LEARNING_RATE = 5e-3  # published: 2e-5, with which a wrong decay would not show in so few steps
SIZE = {"layers": 1, "heads": 4, "feed_forward": 32, "dropout": 0.0}  # without dropout nothing is drawn
VALUES: dict[str, object] = {
    "audio.channels": [2, 2],
    "audio.max_frames": 64,
    "train.emotion.drop_audio": 0.0,
    "train.emotion.drop_text": 0.0,
    **{f"{part}.block": SIZE for part in DECAY},
    **{f"train.{stage}.epochs": EPOCHS for stage in DECAY},
    **{f"train.{stage}.batch_size": 4 for stage in DECAY},
    **{f"train.{stage}.learning_rate": LEARNING_RATE for stage in DECAY},
}


def published_losses(stage: Stage, networks: Networks, batches: Callable[[int], list[Batch]]) -> list[float]:
    """The mean loss of each epoch."""
    model: nn.Module = networks.stage(stage)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=DECAY[stage])
    losses = []
    for epoch in range(EPOCHS):
        total = 0.0
        found = batches(epoch)
        for batch in found:
            optimiser.zero_grad()
            loss = published_loss(stage, networks, batch)
            loss.backward()
            optimiser.step()
            total += loss.item()
        scheduler.step()
        losses.append(total / len(found))
    return losses


def published_loss(stage: Stage, networks: Networks, batch: Batch) -> Tensor:
    if stage == "audio":
        return rmse(networks.embed_audio(batch.waveform, batch.waveform_length, batch.bands)[0], batch.arousal)
    if stage == "text":
        return rmse(networks.text(batch.input_ids, batch.attention_mask)[0], batch.valence)
    with torch.no_grad():
        outputs = networks.embed(batch)
    return nn.CrossEntropyLoss()(networks.classify(outputs), batch.emotion)


def rmse(predicted: Tensor, truth: Tensor) -> Tensor:
    return torch.sqrt(nn.MSELoss()(predicted, truth))


def fresh(config: Config, encoder: Path, run: Path) -> Networks:
    networks = Networks(config, load_encoder(str(encoder)))
    save_config(run, networks)
    shutil.copyfile(encoder / TOKENIZER_FILE, run / TOKENIZER_FILE)
    return networks


@pytest.mark.parametrize("stage", ["audio", "text", "emotion"])
def test_the_losses_are_those_of_the_published_loop(
    stage: Stage, encoder: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    config = load_preset("paper", {**VALUES, "text.encoder": str(encoder)})
    train_stage(stage, fresh(config, encoder, tmp_path), corpus, tmp_path, Accelerator(cpu=True))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]

    networks = fresh(config, encoder, tmp_path).eval()
    learning = for_stage(stage, corpus, "train")
    start_head(stage, networks, learning)
    examples = training_examples(stage, networks, learning, tmp_path)  # with the fixed copies of the rare classes
    order = Bucketed(examples.utterances, 4, config.train.seed)

    def batches(epoch: int) -> list[Batch]:
        order.epoch = epoch
        return [collate([examples[i] for i in chosen], config.emotion.classes) for chosen in order]

    networks.stage(stage).train()
    assert [line["loss"] for line in lines] == pytest.approx(published_losses(stage, networks, batches), abs=1e-4)
