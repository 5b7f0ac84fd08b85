"""Sniffing: the bytes show the container, and files that only begin alike are not taken for it."""

import numpy as np
import pytest

from app.audio.sniff import sniff
from app.errors import AudioFormatUnsupported
from tests.support import encoded
from tests.support.encoded import Kind, encode

CONTAINERS = {"ipod": "mp4", "mp4": "mp4", "3gp": "mp4", "webm": "matroska", "adts": "adts", "amr": "amr"}
# Half a second of nothing, loud enough to take more than one frame.
NOISE = np.random.default_rng(3).uniform(-0.1, 0.1, 24000).astype(np.float32)


@pytest.mark.parametrize("kind", [kind for kind in encoded.KINDS if kind.channels == 1], ids=str)
def test_recorded_files(kind: Kind) -> None:
    assert sniff(encode(NOISE, kind)) == CONTAINERS[kind.muxer]


def test_amr_wb() -> None:
    assert sniff(encoded.amr_wb(1)) == "amr"


def test_one_frame_of_adts_is_enough_and_its_header_alone_is_not() -> None:
    adts = encode(NOISE, encoded.ADTS)
    size = (adts[3] & 3) << 11 | adts[4] << 3 | adts[5] >> 5
    assert sniff(adts[:size]) == sniff(adts[: size - 1]) == "adts"
    for other in (adts[:7] + bytes(5000), adts[:6], adts[:size] + b"RIFF" * 4):
        with pytest.raises(AudioFormatUnsupported):
            sniff(other)


@pytest.mark.parametrize(
    "data",
    [
        b"ftyp",
        b"\0\0\0\x20fty",
        b"\x1a\x45\xdf",
        b"#!AMR",
        b"#!AMR-NB\n",
        b"#!AMR_MC1.0\n",
        b"#!AMR-WB_MC1.0\n",
        b"\xff\xf1",
        b"\xff\xf1" + bytes(20),  # a frame shorter than its header
        b"\xff\xf1\xfc" + b"\xff" * 20,  # a rate that is none
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7",
        b"#EXTM3U",
    ],
)
def test_files_that_only_begin_alike(data: bytes) -> None:
    with pytest.raises(AudioFormatUnsupported):
        sniff(data)
