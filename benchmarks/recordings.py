"""Whether the label of a clip stays when the clip comes in another container, rate, number of channels, or in silence.

    python -m benchmarks.recordings --clips FOLDER

Each clip is answered as it is (WAV, 16 kHz) and in every form below. Printed: the share of equal labels with its 95 %
interval over clips. The clips should not be those that the model learned from.
"""

import argparse
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tqdm import tqdm

from app.audio.decode import SAMPLE_RATE, decode
from app.engine.load import load_model
from app.pipeline import predict
from app.settings import Settings
from tests.support.encoded import ADTS, ALAC, AMR, M4A, OPUS_WEBM, Kind, encode
from tests.support.sounds import sound_file
from training.metrics import intervals

from .harness.machine import save

Samples = NDArray[np.float32]
SILENCE_S = 1.0


def _muxed(kind: Kind) -> Callable[[Samples], bytes]:
    return lambda samples: encode(soxr.resample(samples, SAMPLE_RATE, kind.rate), kind)


def _at_8_khz(samples: Samples, encoding: str = "PCM_16") -> bytes:
    return sound_file(soxr.resample(samples, SAMPLE_RATE, 8_000), 8_000, encoding=encoding)


def _silent(samples: Samples, before_s: float, after_s: float) -> bytes:
    ends = [np.zeros(round(s * SAMPLE_RATE), dtype=np.float32) for s in (before_s, after_s)]
    return sound_file(np.concatenate((ends[0], samples, ends[1])))


FORMS: dict[str, Callable[[Samples], bytes]] = {
    "FLAC": lambda samples: sound_file(samples, container="FLAC"),
    "OGG, Vorbis": lambda samples: sound_file(samples, container="OGG", encoding="VORBIS"),
    "OGG, Opus": lambda samples: sound_file(samples, container="OGG", encoding="OPUS"),
    "MP3": lambda samples: sound_file(samples, container="MP3", encoding="MPEG_LAYER_III"),
    "M4A, AAC": _muxed(M4A),
    "M4A, ALAC": _muxed(ALAC),
    "WebM, Opus": _muxed(OPUS_WEBM),
    "ADTS, AAC": _muxed(ADTS),
    "AMR": _muxed(AMR),
    "WAV, A-law at 8 kHz": lambda samples: _at_8_khz(samples, "ALAW"),
    "WAV at 8 kHz": _at_8_khz,
    "stereo": lambda samples: sound_file(np.stack([samples, samples], axis=1)),
    "silence before": lambda samples: _silent(samples, SILENCE_S, 0),
    "silence after": lambda samples: _silent(samples, 0, SILENCE_S),
    "silence on both sides": lambda samples: _silent(samples, SILENCE_S, SILENCE_S),
}


def main() -> None:
    """Answers the clips in every form, prints the table, and saves it to `results/recordings.json`."""
    parser = argparse.ArgumentParser(description="Labels of clips in other containers, rates and silence.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with audio files")
    parser.add_argument("--number", type=int, default=100, help="clips drawn from it (default: %(default)s)")
    parser.add_argument("--model", default="starter", help="NAME or NAME/VERSION (default: %(default)s)")
    options = parser.parse_args()
    settings = Settings.load(model=options.model)
    model = load_model(settings)

    def label(data: bytes) -> str | None:
        emotion = predict(model, settings, io.BytesIO(data), None).emotion
        return emotion.label if emotion else None

    files = sorted(path for path in options.clips.rglob("*") if path.suffix in (".wav", ".flac", ".opus", ".ogg"))
    chosen = random.Random(1).sample(files, min(options.number, len(files)))
    same = np.zeros((len(chosen), len(FORMS)))
    for row, path in enumerate(tqdm(chosen, unit=" clips", disable=None)):
        samples = decode(path.read_bytes()).samples
        as_it_is = label(sound_file(samples))
        same[row] = [label(form(samples)) == as_it_is for form in FORMS.values()]
    columns = dict(zip([*FORMS, "all"], [*same.T, same.mean(axis=1)], strict=True))
    bounds = intervals(
        lambda drawn: {name: float(column[drawn].mean()) for name, column in columns.items()},
        [path.name for path in chosen],
        seed=1,
    )
    results = [
        {"form": name, "clips": len(chosen), "same_label": float(column.mean()), "interval": bounds[name]}
        for name, column in columns.items()
    ]
    print(f"{model.manifest.name} {model.manifest.version}: share of {len(chosen)} clips with the label of the WAV")
    for result in results:
        print(f"{result['form']:24} {result['same_label']:.2f} {result['interval']}")
    print(f"Written: {save('recordings', results)}")


if __name__ == "__main__":
    main()
