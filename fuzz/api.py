"""Sends valid and invalid requests, made from the OpenAPI document, to a real service and checks every answer.

    python fuzz/api.py [--examples 100] [--seconds 600] [--url http://127.0.0.1:8000]

Without --url it starts `maeum serve` with the shipped model and stops it at the end. schemathesis makes the requests;
this file adds decodable clips, because random bytes never get past the decoder, and difficult transcripts. Exit code 1:
an answer was a 5xx, did not match the document, or accepted a request that the document forbids.
"""

import argparse
import base64
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis
import soundfile
from hypothesis import strategies as st

from app.text import clean_transcript

HERE = Path(__file__)
SEED = 1
_ENCODINGS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("MP3", None),
)
_NASTY = (
    "정말 고마워요",
    "[CLS] </s> <pad>",
    "\u1112\u1161\u11ab",  # Hangul in pieces
    "👩‍👩‍👧‍👦" * 20,
    "\u202e아\u200b진짜\ufeff",
    "+ 100*100% ; drop table --",
    "a\x00b\r\n\tc",
    "가" * 2000,
    "e" + "\u0301" * 500,
)


@st.composite
def clips(draw: st.DrawFn) -> bytes:
    """A file of up to two seconds, with a format, rate and channels that the service accepts."""
    container, encoding = draw(st.sampled_from(_ENCODINGS))
    rate = draw(st.sampled_from((8000, 16000, 44100)))
    shape = (draw(st.integers(rate // 100, 2 * rate)), draw(st.integers(1, 2)))
    level = draw(st.sampled_from((0.0, 1e-4, 0.3, 1.0)))
    samples = level * np.random.default_rng(draw(st.integers(0, 99))).uniform(-1, 1, shape)
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), rate, format=container, subtype=encoding)
    return file.getvalue()


schemathesis.openapi.format("binary", clips())
schemathesis.openapi.format("byte", clips().map(lambda clip: base64.b64encode(clip).decode()))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Replaces every second drawn transcript, unless it is too long, with a nasty one."""
    transcript = body.get("transcript") if isinstance(body, dict) else None
    if isinstance(transcript, str) and len(transcript) < 1000 and len(transcript) % 2:
        return body | {"transcript": _NASTY[len(transcript) % len(_NASTY)]}
    return body


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Drops cases that would be reported although the service answers them correctly.

    - A "forbidden" transcript that is no text: a form has only text, so null becomes a word. JSON keeps it.
    - A body without audio, and without a transcript of which something is left after cleaning: no schema can describe
      those.
    - A channel that the clip may not have, and 0.0, which is an integer to a schema.
    - A field that is an empty list: the form then has no such field.
    - A timeout so short that 504 is the right answer.
    """
    timeout = next((value for name, value in (case.headers or {}).items() if name.lower() == "x-request-timeout"), 60)
    with suppress(ValueError, TypeError):
        if 0 < float(timeout) < 5:
            return False
    if not isinstance(case.body, dict):
        return True
    channel = case.body.get("channel", "mix")
    if any(value == [] for value in case.body.values()) or channel not in ("mix", "0", 0) or isinstance(channel, float):
        return False
    transcript = case.body.get("transcript", "")
    if not isinstance(transcript, str):
        return case.media_type == "application/json" and transcript is not None
    return case.body.get("audio") is not None or bool(clean_transcript(transcript).strip())


@contextmanager
def served() -> Iterator[str]:
    """The address of a new service without keys and without the operator's routes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAEUM_")}
    environment["MAEUM_LOG_LEVEL"] = "error"
    command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            address = next((line.split()[-1] for line in service.stdout if "In a browser" in line), None)
            if address is None:
                raise SystemExit("The service did not start.")
            # Keep reading, otherwise the service blocks when the pipe is full.
            threading.Thread(target=service.stdout.read, daemon=True).start()
            yield address.removesuffix("/docs")
        finally:
            service.terminate()


def fuzz(url: str, examples: int, seconds: int) -> int:
    """Runs schemathesis against the service at `url`; returns its exit code, 0 if it finds nothing."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    command += ["--checks", "all", "--seed", str(SEED), "--max-examples", str(examples), "--max-time", str(seconds)]
    command += ["--continue-on-failure", "--generation-database", "none"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HERE.stem, "PYTHONPATH": _with_here(os.environ.get("PYTHONPATH"))}
    with tempfile.TemporaryDirectory() as folder:  # schemathesis writes its findings into its working folder
        return subprocess.run(command, env=environment, cwd=folder).returncode


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="requests of each kind per operation")
    parser.add_argument("--seconds", type=int, default=600, help="stop after this time")
    parser.add_argument("--url", help="address of a running service")
    options = parser.parse_args()
    if options.url:
        return fuzz(options.url, options.examples, options.seconds)
    with served() as url:
        return fuzz(url, options.examples, options.seconds)


def _with_here(path: str | None) -> str:
    return os.pathsep.join(filter(None, (str(HERE.parent.absolute()), path)))


if __name__ == "__main__":
    sys.exit(main())
