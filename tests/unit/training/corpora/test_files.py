"""Single files of a corpus: recordings as serving reads them, and names however their letters are composed."""

import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from app.audio.decode import decode
from tests.support.encoded import KINDS, M4A, Kind, encode
from tests.support.sounds import sound_file, speech
from training.corpora.files import BrokenFileError, Names, duration_s

DECOMPOSED, COMPOSED = unicodedata.normalize("NFD", "녹음"), "녹음"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.muxer}-{kind.codec}")
def test_recordings_of_phones_and_browsers_are_read(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(encode(speech(1.0, kind.rate, kind.channels), kind))
    assert duration_s(path) == pytest.approx(decode(path.read_bytes()).duration_s, abs=1e-3)


@pytest.mark.parametrize(("container", "encoding"), [("AIFF", None), ("AU", None), ("W64", None), ("CAF", None)])
def test_what_serving_refuses_is_refused(container: str, encoding: str | None, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(sound_file(speech(1.0, 8000), 8000, container, encoding))
    with pytest.raises(BrokenFileError, match=r"clip\.wav: .*Send WAV"):
        duration_s(path)


def test_the_duration_is_of_what_is_there_and_not_of_what_a_header_claims(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    wav = sound_file(speech(1.0))
    path.write_bytes(wav[:40] + struct.pack("<I", 0x7FFFFFFE) + wav[44:])
    assert duration_s(path) == 1.0
    flac = bytearray(sound_file(speech(1.0), container="FLAC"))
    flac[21:26] = bytes([flac[21] | 0x0F]) + b"\xff" * 4  # the number of samples, 36 bits
    path.write_bytes(flac)
    assert duration_s(path) == pytest.approx(1.0)


def test_a_file_without_samples_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.write_bytes(sound_file(np.zeros(0)))
    with pytest.raises(BrokenFileError, match=r"empty\.wav: .*no audio samples"):
        duration_s(path)
    with pytest.raises(BrokenFileError, match=r"none\.wav: no such file"):
        duration_s(tmp_path / "none.wav")


@pytest.mark.parametrize(("on_disk", "named"), [(DECOMPOSED, COMPOSED), (COMPOSED, DECOMPOSED), (COMPOSED, COMPOSED)])
def test_names_are_found_however_their_letters_are_composed(on_disk: str, named: str, tmp_path: Path) -> None:
    folder = tmp_path / on_disk / "a"
    folder.mkdir(parents=True)
    path = folder / f"{on_disk} 1.wav"
    path.write_bytes(b"")
    assert Names().find(tmp_path, f"{named}/a/{named} 1.wav") == path
    assert Names().find(Path("elsewhere"), str(tmp_path / named / "a" / ".." / "a" / f"{named} 1.wav")).samefile(path)
    assert Names().find(tmp_path, f"{named}/없음.wav") == tmp_path / on_disk / "없음.wav"


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in (DECOMPOSED, COMPOSED):
        (tmp_path / f"{name}.wav").write_bytes(b"")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system has one name for both")
    for named in (DECOMPOSED, COMPOSED):
        with pytest.raises(BrokenFileError, match=r"\.wav: two files or folders have this name, .*rename one"):
            Names().find(tmp_path, f"{named}.wav")


def test_an_m4a_is_as_long_as_what_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "clip.m4a"
    path.write_bytes(encode(speech(2.0, 44100), M4A))
    assert duration_s(path) == pytest.approx(2.0, abs=0.1)
