"""Trains the three stages, exports and predicts in under a minute, on a made-up corpus.

It shows that the parts fit together; the resulting model is useless.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from app.audio.decode import SAMPLE_RATE
from app.engine.load import load_model
from app.pipeline import predict
from app.settings import Settings

from ..config import STAGES, load_preset
from ..data.utterance import UTTERANCES_FILE, Split, Utterance, read_utterances, write_utterances
from ..export.version import Release, export
from ..learning.train import train_stage
from ..networks.files import save_config
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE, load_encoder

TRANSCRIPTS = {
    "neutral": "그냥 있어",
    "sad": "너무 슬퍼",
    "happy": "정말 좋아",
    "surprise": "아니 뭐야",
    "angry": "진짜 화나",
}
PITCH_HZ = {"neutral": 120, "sad": 90, "happy": 240, "surprise": 300, "angry": 200}
SPLITS: tuple[Split, ...] = ("train", "train", "validation", "test")

BLOCK = {"layers": 1, "heads": 4, "feed_forward": 32}
TINY: dict[str, object] = {
    "audio.encoder": "",
    "audio.speech": "",
    "audio.channels": [2, 2],
    "audio.max_frames": 64,
    "train.precision": "no",
    **{f"{part}.block.{key}": value for part in STAGES for key, value in BLOCK.items()},
    **{f"train.{stage}.{key}": value for stage in STAGES for key, value in (("epochs", 1), ("limit", 2))},
}
"""The settings that make a preset tiny, by dotted key."""


def smoke(folder: Path) -> dict[str, object]:
    """Works in `folder` and returns the exported model's answer to one utterance."""
    utterances = make_corpus(folder)
    encoder = make_encoder(folder / "tiny-encoder")
    run = folder / "run"
    networks = Networks(load_preset("starter", {**TINY, "text.encoder": str(encoder)}), load_encoder(str(encoder)))
    save_config(run, networks)
    shutil.copyfile(encoder / TOKENIZER_FILE, run / TOKENIZER_FILE)
    for stage in STAGES:
        train_stage(stage, networks, utterances, run, Accelerator(cpu=True))
    export(run, folder / "store", Release("smoke", "0.0.0", "Apache-2.0"), ["int8", "fp32"], utterances)

    settings = Settings.load(model_store=folder / "store", model="smoke")
    utterance = next(utterance for utterance in utterances if utterance.audio is not None)
    assert utterance.audio is not None
    with utterance.audio.open("rb") as audio:
        answer = predict(load_model(settings), settings, audio, utterance.transcript)
    return answer.model_dump()


def make_encoder(folder: Path, texts: Iterable[str] = TRANSCRIPTS.values(), width: int = 64) -> Path:
    """A one-layer BERT with random weights and a tokenizer of the syllables of `texts`, as `transformers` loads it."""
    syllables = sorted({syllable for text in texts for syllable in text})
    vocabulary = {token: index for index, token in enumerate(["[UNK]", "[PAD]", "[CLS]", "[SEP]", *syllables])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=width,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    return folder


def make_corpus(folder: Path) -> list[Utterance]:
    """Four utterances of each emotion: a tone with ever more noise, and a transcript of two words."""
    write_utterances(folder / UTTERANCES_FILE, _utterances(folder))
    return list(read_utterances(folder / UTTERANCES_FILE))


def _utterances(folder: Path) -> Iterator[Utterance]:
    random = np.random.default_rng(0)
    for number, (emotion, transcript) in enumerate(TRANSCRIPTS.items()):
        for take, split in enumerate(SPLITS):
            seconds = 0.3 + 0.1 * take
            time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
            tone = 0.3 * np.sin(2 * np.pi * PITCH_HZ[emotion] * time) + 0.01 * take * random.standard_normal(len(time))
            path = folder / f"{emotion}_{take}.wav"
            soundfile.write(path, tone, SAMPLE_RATE)
            yield Utterance(
                id=path.stem,
                corpus="smoke",
                speaker=f"speaker{take}",
                audio=Path(path.name),
                transcript=transcript,
                emotion=emotion,
                arousal=2.0 + 0.5 * number,
                valence=4.0 - 0.5 * number,
                duration_s=seconds,
                split=split,
            )
