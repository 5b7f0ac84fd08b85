"""`maeum-train starter`: the model that the project ships, in one command from the corpora to its folder.

The text network is trained first, on film reviews and comments. Then the encoders run once over the Korean clips and
the comments, and the heads on them are trained without each speaker in turn, and for the version on all ten. Every
figure on clips is that of the held-out speakers of all folds together, as served.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator

from ..config import PRESETS, load_preset
from ..corpora.kote import read_kote
from ..corpora.nsmc import read_reviews
from ..corpora.speech import read_korean_speech
from ..corpora.tally import Report
from ..data.examples import Examples
from ..data.utterance import Utterance
from ..evaluation.crossvalidation import cross_validate
from ..export.version import Release, export, new_version
from ..learning.heads import Clips, Transcripts, embed_clips, embed_transcripts, train_arousal, train_emotion
from ..learning.run import new_networks, train
from ..learning.stages import make_tokenizer
from ..networks.files import load_stage, save_config, save_stage
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE

NAME = "starter"
LICENSE = "CC-BY-NC-SA-4.0"
ABOUT = PRESETS / "starter.md"


def make_starter(
    source: Path, work: Path, store: Path, version: str, settings: Mapping[str, object] | None = None
) -> Path:
    """Trains, cross-validates and exports; returns the version's folder. Uses a text network that `work` already has.

    `source` holds the corpora; `settings` override the preset `starter`, by dotted key. Takes about two hours on two
    cores. Raises TrainingError.
    """
    new_version(store, NAME, version)  # fails now rather than in two hours
    config = load_preset("starter", dict(settings or {}))
    texts = [*read_kote(source / "kote", Report()), *read_reviews(source / "nsmc_ratings", Report())]
    text_run = work / "text"
    train(
        ("text",), config, texts, text_run, Accelerator(cpu=True, mixed_precision=config.train.precision), resume=True
    )

    networks = new_networks(config)
    load_stage(text_run, networks, "text")
    networks.eval().requires_grad_(False)
    networks.audio.head.requires_grad_(True)
    networks.emotion.requires_grad_(True)
    speakers = korean_by_speaker(source)
    clips = embed_clips(networks, [clip for own in speakers.values() for clip in own], config.train.seed)
    comments = [utterance for utterance in texts if utterance.corpus == "kote" and utterance.split == "train"]
    tokenizer = make_tokenizer("text", networks, text_run)
    transcripts = embed_transcripts(networks, Examples(comments, tokenizer, config.audio.max_frames))

    folds = work / "folds"
    for speaker in speakers:
        run = work / f"without-{speaker}"
        _train_heads(networks, clips.without(speaker), transcripts, text_run, run)
        shutil.rmtree(folds / speaker, ignore_errors=True)
        export(run, folds, Release(speaker, "0.0.0", LICENSE), ["int8", "fp32"])
    _train_heads(networks, clips, transcripts, text_run, work / "shipped")
    held_out = [utterance for utterance in texts if utterance.split != "train"]
    release = Release(
        NAME,
        version,
        LICENSE,
        ABOUT.read_text(encoding="utf-8"),
        training={
            "command": "maeum-train starter",
            "licenses": {"audio_arousal": LICENSE, "text_valence": "MIT", "emotion": LICENSE},
            **config.train.model_dump(include={"seed", "precision", "text"}),
        },
        crossvalidation=cross_validate(folds, speakers, held_out),
    )
    return export(work / "shipped", store, release, ["int8", "fp16"], held_out, weights=True)


def korean_by_speaker(source: Path) -> dict[str, list[Utterance]]:
    """The clips of each Korean speaker with their transcripts, which serve for testing only."""
    folder = source / "ko_emotional_speech"
    speakers = sorted({str(utterance.speaker) for utterance in read_korean_speech(folder, Report())})
    everything = list(read_korean_speech(folder, Report(), test=speakers))
    return {speaker: [u for u in everything if u.speaker == speaker] for speaker in speakers}


def _train_heads(networks: Networks, clips: Clips, transcripts: Transcripts, text_run: Path, run: Path) -> None:
    """Leaves in `run` the networks with heads trained on these."""
    seed = networks.config.train.seed
    train_arousal(networks, clips, seed)
    train_emotion(networks, clips, transcripts, seed)
    save_config(run, networks)
    shutil.copyfile(text_run / TOKENIZER_FILE, run / TOKENIZER_FILE)
    for stage in ("audio", "text", "emotion"):
        save_stage(run, networks, stage)
