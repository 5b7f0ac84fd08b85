"""Everything that can be set, in one place: by `MAEUM_` environment variables, or by options of `maeum serve`."""

import difflib
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import SettingsInvalid

Precision = Literal["fp32", "fp16", "int8"]
Provider = Literal["cpu", "cuda"]

_PREFIX = "MAEUM_"


class Settings(BaseSettings):
    """How to serve. Frozen; read once at start. Raises SettingsInvalid for a `MAEUM_` variable that does not exist."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    # Where to listen, and for how long

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets other machines in."""

    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on. 0 takes a free one."""

    without_keys: Literal["loopback", "anyone"] = "loopback"
    """Who may ask where there is no `keys_file`. loopback: the service listens only where other machines cannot reach
    it, and refuses to start elsewhere. anyone: it listens anywhere, and whoever reaches it may ask."""

    keep_alive_s: int = Field(5, ge=1)
    """Seconds that a connection may stay open without a request."""

    header_timeout_s: float = Field(10, gt=0)
    """Seconds in which a client must have sent the headers of a request, must have sent the rest of a body whose answer
    is already given, and must have read some of its answer."""

    drain_s: float = Field(3, ge=0)
    """Seconds after SIGTERM in which requests are still taken while `/health/ready` already answers 503, so that a load
    balancer has time to look elsewhere."""

    grace_s: int = Field(30, ge=1)
    """Seconds that the requests under way then have to finish."""

    # What to serve, and where to run it

    model_store: str = str(Path(__file__).parents[1] / "model_store")
    """Where the models lie, as <name>/<version>/manifest.json: a folder, or an address that fsspec reads, such as
    s3://bucket/models."""

    model_cache: Path = Path("~/.cache/maeum")
    """Folder that keeps what was fetched from such an address."""

    model: str = "starter"
    """NAME, which is its newest version, or NAME/VERSION."""

    precision: Literal["auto"] | Precision = "auto"
    """Which graphs of the version to run. auto: int8 on a CPU and fp16 on a GPU where the version has it, else fp32."""

    provider: Provider = "cpu"
    """Where to run them. cuda fails at start where no GPU can be used."""

    gpus: str = Field("0", pattern=r"^\d+(,\d+)*$")
    """Numbers of the GPUs to use, such as 0,1: a replica of the model on each. A number given twice gets two, of which
    one copies while the other computes."""

    gpu_memory_bytes: int = Field(0, ge=0)
    """Most memory that a replica may take on its GPU. 0: what its largest batch needs."""

    threads: int = Field(0, ge=0)
    """Threads inside one operator and, on a CPU, utterances at a time. 0: as many as there are physical cores."""

    # What a request may be

    max_body_bytes: int = Field(25_000_000, ge=1)
    """Largest request. 25 MB is an utterance in any format: 140 s of uncompressed CD audio."""

    upload_timeout_s: float = Field(30, gt=0)
    """Seconds in which a request must have arrived whole."""

    max_transcript_characters: int = Field(2000, ge=1)
    """Longest transcript, before cleaning. The model reads far fewer; more than this is a mistake."""

    max_duration_s: float = Field(600, gt=0)
    """Longest clip. An utterance lasts seconds; this suffices to report the true length of what was sent by mistake."""

    max_channels: int = Field(8, ge=1)
    """Most channels of a clip."""

    max_decoded_bytes: int = Field(120_000_000, ge=1)
    """Most memory that a clip's samples may take while it is decoded, 4 bytes a sample and channel."""

    decode_timeout_s: float = Field(10, gt=0)
    """Seconds that decoding a clip may take. The process that does it is then replaced."""

    decode_memory_bytes: int = Field(1_000_000_000, ge=200_000_000)
    """Most memory that a process that decodes may take, above what it takes at its start."""

    timeout_s: float = Field(30, gt=0)
    """Seconds after which a request is given up, counted from its first byte, where it brings no X-Request-Timeout."""

    max_timeout_s: float = Field(60, gt=0)
    """Most seconds that X-Request-Timeout may ask for."""

    # How much at a time

    decoders: int = Field(2, ge=1)
    """Processes that decode audio."""

    max_queue: int = Field(64, ge=1)
    """Utterances that may wait. Past it the answer is 429, as waiting longer than a client does helps nobody."""

    max_wait_s: float = Field(0.5, gt=0)
    """Seconds that an utterance may have to wait for the model, as far as can be told from those before it. Past it the
    answer is 429 too, so that those who are accepted hardly wait longer, however slow the machine is."""

    max_upload_bytes: int = Field(500_000_000, ge=1)
    """Most bytes that the bodies of all requests under way may have together. Past it the answer is 429. What is being
    decoded is in memory twice."""

    max_batch: int = Field(16, ge=1)
    """Utterances in one batch, on a GPU. On a CPU a batch is no faster than its utterances side by side."""

    max_batch_positions: int = Field(2304, ge=1)
    """Most frames and tokens in one batch on a GPU, with padding; the default is four of the starter's longest
    utterances. It bounds memory, and how long the shortest waits for the longest."""

    # Who may ask

    keys_file: Path | None = None
    """File of API keys, a line each: NAME SHA256 and perhaps the word admin; `maeum key NAME` makes one. Read again
    whenever it changes. Without it there are no keys."""

    open_paths: str = "/health"
    """Where keys are asked for, the paths that need none, with all below them; a comma between two."""

    rate_limit: str = ""
    """Most requests of all together, such as 100/second; several limits with a semicolon between. Empty: no limit."""

    rate_limit_per_key: str = ""
    """The same for each key."""

    cors_origins: str = ""
    """Origins whose pages may call the service from a browser, such as https://example.com; a comma between two."""

    metrics: bool = True
    """Whether /metrics is served, in Prometheus' format."""

    admin: bool = False
    """Whether /admin/reload is served. Where there are keys it takes one marked admin."""

    # What is written down

    log_format: Literal["text", "json"] = "text"
    """text for a person, json for a machine. Neither holds what anyone sent."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    @field_validator("model_store", mode="before")
    @classmethod
    def _folder(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

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
