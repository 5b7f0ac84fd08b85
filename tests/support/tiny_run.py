"""The configuration and the device of trainings that take seconds."""

from pathlib import Path

from accelerate import Accelerator

from training.config import Config, load_preset
from training.recipes.smoke import TINY

CPU = Accelerator(cpu=True)


def tiny(encoder: Path, **overrides: object) -> Config:
    """The starter's structure made tiny, on the text encoder in a folder; `overrides` by dotted key."""
    return load_preset("starter", {**TINY, "text.encoder": str(encoder), **overrides})
