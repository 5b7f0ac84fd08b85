"""Smoke test of a running service: predictions from audio, from a transcript and from both, a refusal, metrics.

    python3 deploy/smoke.py http://127.0.0.1:8000 [--key KEY] [--wait SECONDS]

Needs only Python. Exits with 0 on success, otherwise with 1 and a sentence. The audio is a hum, so predictions are not
judged.
"""

import argparse
import io
import json
import math
import struct
import sys
import time
import urllib.error
import urllib.request
import wave

RATE = 16_000
SECONDS = 2
BOUNDARY = "smoke-7b1c0e"
TRANSCRIPT = "오늘 정말 고마워요."


class Failure(Exception):
    """A check failed; the message is a sentence."""


class Service:
    """The service at `address`. Requests carry `key` unless it is None."""

    def __init__(self, address: str, key: str | None) -> None:
        self.address = address.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Ignore proxy variables.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and content of the answer. Raises OSError if there is none."""
        headers = self.headers | ({"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} if body else {})
        try:
            with self.opener.open(urllib.request.Request(self.address + path, body, headers), timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def wait_until_ready(service: Service, seconds: float) -> None:
    """Waits for /health/ready. Raises Failure after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            status, content = service.ask("/health/ready")
            if status == 200:
                return
            last = f"{status} {content.decode(errors='replace')}"
        except OSError as error:
            last = str(error)
        if time.monotonic() > end:
            raise Failure(f"Not ready after {seconds:g} s: {last}")
        time.sleep(0.2)


def predict(service: Service, audio: bytes | None, transcript: str | None) -> str:
    """A line about the prediction. Raises Failure if the answer is no prediction or has the wrong modalities."""
    status, content = service.ask("/predict", form(audio, transcript))
    if status != 200:
        raise Failure(f"/predict answers {status}: {content.decode(errors='replace')}")
    answer = json.loads(content)
    for name, given in (("arousal", audio), ("valence", transcript)):
        if (answer[name] is None) != (given is None):
            raise Failure(
                f"/predict answers {name} {answer[name]}, although the modalities are {answer['modalities']}."
            )
    if not math.isclose(sum(answer["emotion"]["probabilities"].values()), 1, abs_tol=0.01):
        raise Failure(f"The probabilities do not add up to one: {answer['emotion']}")
    return (
        f"{' and '.join(answer['modalities'])}: {answer['emotion']['label']}, {answer['timing_ms']['inference']:.1f} ms"
    )


def refusal(service: Service) -> str:
    """A line about the answer to a file that is no audio. Raises Failure if the file is not refused."""
    status, content = service.ask("/predict", form(b"no audio", None))
    if status != 415:
        raise Failure(f"/predict answers {status} to a file that is no audio: {content.decode(errors='replace')}")
    return f"no audio: refused ({status})"


def metrics(service: Service) -> str:
    """A line about /metrics, which may be closed to this key or switched off. Raises Failure on any other error."""
    status, content = service.ask("/metrics")
    if status == 200:
        return f"metrics: {sum(not line.startswith(b'#') for line in content.splitlines())} values"
    if status in (401, 403, 404):
        return f"metrics: not available ({status})"
    raise Failure(f"/metrics answers {status}.")


def hum() -> bytes:
    """A WAV file with SECONDS of a voice-like hum: 120 Hz with falling overtones, fading in and out."""
    values = (
        0.3
        * math.sin(math.pi * i / (RATE * SECONDS))
        * sum(math.sin(k * 2 * math.pi * 120 * i / RATE) / k for k in range(1, 8))
        for i in range(RATE * SECONDS)
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes(b"".join(struct.pack("<h", round(12_000 * value)) for value in values))
    return file.getvalue()


def form(audio: bytes | None, transcript: str | None) -> bytes:
    """Audio and transcript as multipart/form-data."""
    parts = []
    if audio is not None:
        disposition = 'form-data; name="audio"; filename="hum.wav"'
        parts.append(f"Content-Disposition: {disposition}\r\nContent-Type: audio/wav\r\n\r\n".encode() + audio)
    if transcript is not None:
        parts.append(f'Content-Disposition: form-data; name="transcript"\r\n\r\n{transcript}'.encode())
    return b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="such as http://127.0.0.1:8000")
    parser.add_argument("--key", help="API key, if the service requires one")
    parser.add_argument(
        "--wait", type=float, default=120, metavar="SECONDS", help="longest wait until it is ready (default: 120)"
    )
    options = parser.parse_args()
    service = Service(options.address, options.key)
    audio = hum()
    try:
        wait_until_ready(service, options.wait)
        for given in ((audio, None), (None, TRANSCRIPT), (audio, TRANSCRIPT)):
            sys.stdout.write(predict(service, *given) + "\n")
        sys.stdout.write(refusal(service) + "\n")
        sys.stdout.write(metrics(service) + "\n")
    except (Failure, OSError) as error:
        sys.stderr.write(f"smoke: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
