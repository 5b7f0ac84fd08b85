"""The three networks as one: built, saved, loaded, and run on a batch in which a modality may be missing."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.batches import Batch
from training.config import Config, Stage
from training.encoder import blank_encoder, load_encoder_config
from training.errors import TrainingError
from training.model import AddedEmotion, AudioArousal, Emotion, TextValence
from training.original_model import original_networks
from training.whisper import WhisperArousal

CONFIG_FILE = "config.json"
ENCODER_FOLDER = "encoder"  # the text encoder's own config.json


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
            said, embedding, mask = self.audio(batch.waveform[heard, :longest], batch.waveform_length[heard])
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


def save_config(run: Path, networks: Networks) -> None:
    """Writes what is needed to build the networks again."""
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG_FILE).write_text(networks.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    networks.text.encoder.config.save_pretrained(run / ENCODER_FOLDER)


def checkpoint(run: Path, stage: Stage) -> Path:
    """Where the weights of a stage lie."""
    return run / f"{stage}.safetensors"


def save_stage(run: Path, networks: Networks, stage: Stage) -> None:
    """Writes the weights of one stage; a file is whole or not there."""
    path = checkpoint(run, stage)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in networks.stage(stage).state_dict().items()}, partial)
    partial.replace(path)


def load_stage(run: Path, networks: Networks, stage: Stage) -> None:
    """Reads the weights of one stage. Raises RunError."""
    path = checkpoint(run, stage)
    if not path.is_file():
        raise RunError(f"{path} is not there; `maeum-train train {stage} --output {run}` makes it.")
    networks.stage(stage).load_state_dict(load_file(path))


def load_networks(run: Path) -> Networks:
    """The three trained networks of a run, in evaluation mode. Raises RunError and EncoderError."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise RunError(f"{run} is no run: it has no {CONFIG_FILE}. `maeum-train train` makes one.")
    config = Config.model_validate_json(path.read_text(encoding="utf-8"))
    networks = Networks(config, blank_encoder(load_encoder_config(run / ENCODER_FOLDER)))
    for stage in ("audio", "text", "emotion"):
        load_stage(run, networks, stage)
    return networks.eval()
