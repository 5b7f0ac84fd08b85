"""Sends what the OpenAPI document allows, and what it forbids, to a real service, and checks every answer against it.

    python fuzz/api.py [--examples 100] [--seconds 600] [--url http://127.0.0.1:8000]

Without --url it starts `maeum serve` with the shipped model and stops it. The requests are schemathesis'; this file
gives it clips that can be heard and transcripts that are hard to read, as bytes drawn at random never get past the
decoder. Exit code 1: an answer was a 5xx, was not as the document says, or took what the document forbids.
"""

import argparse
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
    """A file of up to two seconds, in a format, at a rate and with channels that the service takes."""
    container, encoding = draw(st.sampled_from(_ENCODINGS))
    rate = draw(st.sampled_from((8000, 16000, 44100)))
    shape = (draw(st.integers(rate // 100, 2 * rate)), draw(st.integers(1, 2)))
    level = draw(st.sampled_from((0.0, 1e-4, 0.3, 1.0)))
    samples = level * np.random.default_rng(draw(st.integers(0, 99))).uniform(-1, 1, shape)
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), rate, format=container, subtype=encoding)
    return file.getvalue()


schemathesis.openapi.format("binary", clips())


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Puts one of the nasty transcripts in the place of every second that was drawn, but of none too long."""
    transcript = body.get("transcript") if isinstance(body, dict) else None
    if isinstance(transcript, str) and len(transcript) < 1000 and len(transcript) % 2:
        return body | {"transcript": _NASTY[len(transcript) % len(_NASTY)]}
    return body


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leaves out what is right as it is and would be reported.

    A "forbidden" transcript that is no text: in a form all is text, and null becomes the word. A transcript of which
    nothing is left, alone: no schema can say which. A field that is an empty list: a form then has none of that name. A
    timeout so short that a 504 is the answer that was asked for.
    """
    timeout = next((value for name, value in (case.headers or {}).items() if name.lower() == "x-request-timeout"), 60)
    with suppress(ValueError, TypeError):
        if 0 < float(timeout) < 5:
            return False
    if not isinstance(case.body, dict):
        return True
    if any(value == [] for value in case.body.values()):
        return False
    if "transcript" not in case.body:
        return True
    transcript = case.body["transcript"]
    return isinstance(transcript, str) and ("audio" in case.body or bool(clean_transcript(transcript).strip()))


@contextmanager
def served() -> Iterator[str]:
    """The address of a service of its own, without keys and without what an operator may do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAEUM_")}
    environment["MAEUM_LOG_LEVEL"] = "error"
    command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            address = next((line.split()[-1] for line in service.stdout if "In a browser" in line), None)
            if address is None:
                raise SystemExit("The service did not start.")
            # Read on, or the service waits for room to log in.
            threading.Thread(target=service.stdout.read, daemon=True).start()
            yield address.removesuffix("/docs")
        finally:
            service.terminate()


def fuzz(url: str, examples: int, seconds: int) -> int:
    """Runs schemathesis against the service at `url`; returns its exit code, 0 where nothing was found."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    command += ["--checks", "all", "--seed", str(SEED), "--max-examples", str(examples), "--max-time", str(seconds)]
    command += ["--continue-on-failure", "--generation-database", "none"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HERE.stem, "PYTHONPATH": _with_here(os.environ.get("PYTHONPATH"))}
    with tempfile.TemporaryDirectory() as folder:  # it writes what it found into the one it runs in
        return subprocess.run(command, env=environment, cwd=folder).returncode


def main() -> int:
    """Fuzzes as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="requests of each kind an operation gets")
    parser.add_argument("--seconds", type=int, default=600, help="stop after this time")
    parser.add_argument("--url", help="address of a service that runs already")
    options = parser.parse_args()
    if options.url:
        return fuzz(options.url, options.examples, options.seconds)
    with served() as url:
        return fuzz(url, options.examples, options.seconds)


def _with_here(path: str | None) -> str:
    return os.pathsep.join(filter(None, (str(HERE.parent.absolute()), path)))


if __name__ == "__main__":
    sys.exit(main())
