"""Everything that can be set, in one place: by `MAEUM_` environment variables, or by options of `maeum serve`."""

import difflib
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsInvalid
from app.manifest import Precision

_PREFIX = "MAEUM_"


class Settings(BaseSettings):
    """How to serve. Frozen; read once at start. Raises SettingsInvalid for a `MAEUM_` variable that does not exist."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets other machines in."""

    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on. 0 takes a free one."""

    model_store: Path = Path(__file__).parents[1] / "model_store"
    """Folder of the models: <name>/<version>/manifest.json."""

    model: str = "starter"
    """NAME, which is its newest version, or NAME/VERSION."""

    precision: Literal["auto"] | Precision = "auto"
    """Which graphs of the version to run. auto: int8 on a CPU and fp16 on a GPU where the version has it, else fp32."""

    provider: Literal["cpu", "cuda"] = "cpu"
    """Where to run them. cuda fails at start where no GPU can be used."""

    gpus: str = Field("0", pattern=r"^\d+(,\d+)*$")
    """Numbers of the GPUs to use, such as 0,1: a replica of the model on each. A number given twice gets two, of which
    one copies while the other computes."""

    gpu_memory_bytes: int = Field(0, ge=0)
    """Most memory that a replica may take on its GPU. 0: what its largest batch needs."""

    threads: int = Field(0, ge=0)
    """Threads inside one operator. 0: as many as there are physical cores."""

    decode_threads: int = Field(2, ge=1)
    """Threads that decode audio and tokenise transcripts. Each holds one whole upload in memory."""

    max_body_bytes: int = Field(25_000_000, ge=1)
    """Largest request. 25 MB is an utterance in any format: 140 s of uncompressed CD audio."""

    max_transcript_characters: int = Field(2000, ge=1)
    """Longest transcript, before cleaning. The model reads far fewer; more than this is a mistake."""

    max_queue: int = Field(64, ge=1)
    """Utterances that may wait. Past it the answer is 429, as waiting longer than a client does helps nobody."""

    max_batch: int = Field(16, ge=1)
    """Utterances in one batch, on a GPU. On a CPU a batch is no faster than its utterances side by side."""

    max_batch_positions: int = Field(4 * (512 + 64), ge=1)
    """Frames and tokens in one batch, padding included, on a GPU: it bounds memory, and how long the shortest waits."""

    @property
    def gpu_numbers(self) -> list[int]:
        """`gpus` as numbers."""
        return list(map(int, self.gpus.split(",")))

    @model_validator(mode="before")
    @classmethod
    def _known_variables(cls, values: Any) -> Any:
        known = {_PREFIX + name.upper() for name in cls.model_fields}
        for variable in os.environ:
            if variable.upper().startswith(_PREFIX) and variable.upper() not in known:
                closest = difflib.get_close_matches(variable.upper(), sorted(known), n=1, cutoff=0)[0]
                raise SettingsInvalid(f"There is no setting {variable}. The closest one is {closest}.")
        return values

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of the environment, with those of `given` that are not None before them.

        Raises SettingsInvalid, naming the variable.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = _PREFIX + str(first["loc"][0]).upper()
            raise SettingsInvalid(f"{name} is {first['input']!r}: {first['msg']}.") from error
