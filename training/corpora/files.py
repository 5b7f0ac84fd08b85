"""Reading single files of a corpus: text in either encoding, and the duration of a recording."""

from pathlib import Path

import soundfile


class BrokenFileError(Exception):
    """One file that cannot be read; the message names it. The corpus is read without it."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 (with or without BOM) or cp949 file. Raises BrokenFileError.

    UTF-8 is tried first: cp949 text is practically never valid UTF-8, but UTF-8 text may be valid cp949.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenFileError(f"{path}: {error.strerror}") from error
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BrokenFileError(f"{path}: neither UTF-8 nor cp949")


def duration_s(path: Path) -> float:
    """Seconds of audio from the header of `path`. Raises BrokenFileError, also for a file without samples."""
    if not path.is_file():
        raise BrokenFileError(f"{path}: no such file")
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BrokenFileError(f"{path}: not a readable audio file") from error
    if info.frames == 0:
        raise BrokenFileError(f"{path}: no samples")
    return round(float(info.duration), 3)
