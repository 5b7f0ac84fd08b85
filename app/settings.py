"""Every setting: from `MAEUM_` environment variables, or from options of `maeum serve`."""

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import SettingsInvalid

Precision = Literal["fp32", "fp16", "int8"]
Provider = Literal["cpu", "cuda"]

# Every number has an end: past it is a slip of the pen, which would otherwise exhaust the machine or never take effect.
# A timer resolves a millisecond, and nobody waits an hour for an answer.
Seconds = Annotated[float, Field(ge=0.001, le=3_600)]
# No machine that serves has more memory than a terabyte, and a request is in memory.
Bytes = Annotated[int, Field(ge=1, le=1_000_000_000_000)]

_PREFIX = "MAEUM_"
_SHOWN = 60  # characters of a wrong value in a message

# The first of each pair may not exceed the second: the second would refuse what the first allows, whenever it is sent.
_ORDERED = (
    ("max_body_bytes", "max_upload_bytes"),
    ("max_decoded_bytes", "decode_memory_bytes"),
    ("timeout_s", "max_timeout_s"),
)


class Settings(BaseSettings):
    """How to serve. Frozen; read once at start. Raises SettingsInvalid for a `MAEUM_` variable that does not exist."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    # Listening

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 accepts other machines, :: also those with IPv6."""

    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on. 0 picks a free one."""

    without_keys: Literal["loopback", "anyone"] = "loopback"
    """Who may call the service without a `keys_file`. loopback: only this machine; the service refuses to start on an
    address that other machines can reach. anyone: every machine that can reach it."""

    root_path: str = ""
    """Path prefix under which a proxy serves the service, such as /maeum. The proxy may remove it from the path or keep
    it."""

    forwarded_allow_ips: str = "127.0.0.1,::1"
    """Addresses and networks of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, separated by
    commas; * believes everyone. Empty: nobody. The default is a proxy on this machine."""

    keep_alive_s: int = Field(5, ge=1, le=3_600)
    """Seconds after which an idle connection is closed."""

    header_timeout_s: Seconds = 10
    """Seconds that a client has for each of these: to send the headers of a request, to send the rest of a body that is
    already answered, and to read some of its answer."""

    drain_s: float = Field(3, ge=0, le=3_600)
    """Seconds after SIGTERM in which requests are still accepted while `/health/ready` already answers 503, so that a
    load balancer can turn to another service."""

    grace_s: int = Field(30, ge=1, le=3_600)
    """Seconds after that in which requests under way may finish."""

    # Model and device

    model_store: str = str(Path(__file__).parents[1] / "model_store")
    """The model store, laid out as <name>/<version>/manifest.json: a folder, or an address that fsspec reads, such as
    s3://bucket/models."""

    model_cache: Path = Path("~/.cache/maeum")
    """Folder for versions fetched from such an address."""

    model: str = "starter"
    """NAME (its newest version) or NAME/VERSION."""

    precision: Literal["auto"] | Precision = "auto"
    """Which graphs of the version to run. auto: int8 on a CPU, fp16 on a GPU where the version has it, else fp32."""

    provider: Provider = "cpu"
    """Where to run them. cuda: fails at the start without a usable GPU."""

    gpus: str = Field("0", pattern=r"^[0-9]{1,3}(,[0-9]{1,3}){0,63}$")
    """GPUs to use by number, such as 0,1, with a replica of the model on each. A GPU listed twice gets two: one copies
    data while the other computes."""

    gpu_memory_bytes: int = Field(0, ge=0, le=1_000_000_000_000)
    """GPU memory limit of one replica, in bytes. 0: whatever its largest batch needs."""

    threads: int = Field(0, ge=0, le=256)
    """Threads inside one operator and, on a CPU, utterances at a time. 0: the number of physical cores."""

    warm_up_timeout_s: Seconds = 300
    """Seconds that a replica of the model may take for its first runs. A loop without end in a graph ends there."""

    # Bounds of a request

    max_body_bytes: Bytes = 25_000_000
    """Largest request body. 25 MB holds an utterance in any format: 140 s of uncompressed CD audio."""

    upload_timeout_s: Seconds = 30
    """Seconds that a request may take to arrive in full."""

    max_transcript_characters: int = Field(2000, ge=1, le=1_000_000)
    """Longest transcript, in characters of composed Hangul (NFC). Models use far less; a longer one is a mistake."""

    max_duration_s: float = Field(600, ge=0.1, le=14_400)
    """Longest clip in seconds. An utterance lasts a few; up to this limit an answer reports the true length of a
    recording that was sent by mistake."""

    max_channels: int = Field(8, ge=1, le=1_024)
    """Most channels of a clip."""

    max_decoded_bytes: Bytes = 120_000_000
    """Memory limit of a clip's decoded samples: 4 bytes per sample and channel."""

    decode_timeout_s: Seconds = 10
    """Seconds that decoding a clip may take. After that the decoder process is replaced."""

    decode_memory_bytes: int = Field(1_000_000_000, ge=200_000_000, le=1_000_000_000_000)
    """Memory limit of a decoder process, on top of its memory at the start."""

    timeout_s: Seconds = 30
    """Seconds after which a request is abandoned, from its first byte; X-Request-Timeout replaces it."""

    max_timeout_s: Seconds = 60
    """Upper bound on X-Request-Timeout: a longer one is shortened to it."""

    # Capacity

    decoders: int = Field(2, ge=1, le=64)
    """Number of processes that decode audio, 35 MB each. 64 decode thousands of utterances a second."""

    max_queue: int = Field(64, ge=1, le=10_000)
    """Most utterances that may wait ahead of a new one, with those being decoded; clips do not count for a transcript
    alone, which passes them. Past it the answer is 429: nobody gains from a wait that outlasts the client."""

    max_wait_s: Seconds = 0.5
    """Longest expected wait for a decoder or for the model in seconds, estimated from recent clips and batches. Past it
    the answer is 429 too, so that accepted requests hardly wait longer, however slow the machine is. After
    that long without an idle moment half of it holds: a longer queue would answer nobody sooner."""

    max_upload_bytes: Bytes = 500_000_000
    """Most bytes in the bodies of all requests under way together. Past it the answer is 429. A clip is in memory twice
    while it is decoded."""

    max_batch: int = Field(16, ge=1, le=1_024)
    """Most utterances in one batch on a GPU. On a CPU utterances run side by side, which is as fast."""

    max_batch_positions: int = Field(2304, ge=1, le=1_000_000)
    """Most frames and tokens in one batch on a GPU, with padding; the default is four of the starter's longest
    utterances. It bounds memory, and how long the shortest waits for the longest."""

    # Access

    keys_file: Path | None = None
    """File of API keys, one per line: NAME SHA256 and optionally the word admin; `maeum key NAME` makes one. Read again
    when it changes. Without a file no key is needed."""

    open_paths: str = "/health"
    """Paths that need no key, each with everything below it, separated by commas."""

    rate_limit: str = ""
    """Rate limit for all clients together, such as 100/second; separate several limits with semicolons. Empty: none."""

    rate_limit_per_key: str = ""
    """The same, for each key."""

    allowed_hosts: str = ""
    """Names by which clients may address the service (`Host`), such as speech.example.org, separated by commas;
    .example.org stands for all names under it, * for any. Addresses, names without a dot and names under .localhost and
    .internal are always allowed. Empty: any name, but without a `keys_file` and with `without_keys=loopback`, clients
    of this machine have only those and the machine's own name."""

    cors_origins: str = ""
    """Origins whose pages may call the service from a browser, such as https://example.com, separated by commas."""

    metrics: bool = True
    """Whether /metrics is served, in Prometheus' text format."""

    admin: bool = False
    """Whether /admin/reload is served. With a `keys_file` it needs a key marked admin."""

    # Logs

    log_format: Literal["text", "json"] = "text"
    """text for people, json for machines. Neither contains any part of a request's content."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    @field_validator("model_store", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("model_store", "keys_file")
    @classmethod
    def _in_home(cls, value: Any) -> Any:
        """Replaces ~ at the beginning: a shell does so only where it is not quoted."""
        if not str(value).startswith("~"):
            return value
        try:
            return type(value)(Path(value).expanduser())
        except RuntimeError:
            raise ValueError("it begins with ~, and there is no such home folder; write the whole path") from None

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*", value):
            raise ValueError("write it as in /maeum, with a slash in front and none at its end")
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _proxies(cls, value: str) -> str:
        for each in filter(None, map(str.strip, value.split(","))):
            if value.strip() == "*":
                break
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ValueError(f"{each} is no address such as 10.0.0.1 and no network such as 10.0.0.0/8") from None
        return value

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

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                names = (f"{_PREFIX}{name.upper()} ({getattr(self, name)})" for name in (low, high))
                raise SettingsInvalid("{} may not be above {}: raise the second or lower the first.".format(*names))
        return self

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of the environment; those of `given` that are not None win.

        Raises SettingsInvalid, naming the variable.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = _PREFIX + str(first["loc"][0]).upper()
            value = repr(first["input"])
            shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
            raise SettingsInvalid(f"{name} is {shown}: {first['msg'].removeprefix('Value error, ')}.") from error
