"""Reading single files of a corpus: text in either encoding, recordings as serving does, names in any composition."""

import unicodedata
from pathlib import Path

from app.audio.decode import decode
from app.errors import MaeumError


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
    """Seconds of audio in `path`, decoded as serving does. Raises BrokenFileError for a file that serving refuses."""
    if not path.is_file():
        raise BrokenFileError(f"{path}: no such file")
    try:
        return round(decode(path.read_bytes()).duration_s, 3)
    except OSError as error:
        raise BrokenFileError(f"{path}: {error.strerror}") from error
    except MaeumError as error:
        raise BrokenFileError(f"{path}: {error}") from error


class Names:
    """Finds files by names from a table, whose letters may be composed (NFC) where those on disk are not (NFD, as macOS
    packs them), or the other way round. Lists each folder once.
    """

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, name: str) -> Path:
        """The path of `name`, absolute or relative to `folder`. One that is not there stays as it is named.

        Raises BrokenFileError where two files or folders have the same name but for its composition.
        """
        given = Path(name)
        found = Path(given.anchor) if given.is_absolute() else folder
        for part in given.relative_to(given.anchor).parts:
            same = [] if part.isascii() else self._names(found).get(unicodedata.normalize("NFC", part), [])
            if len(same) > 1:
                raise BrokenFileError(
                    f"{found / part}: two files or folders have this name, once in composed letters (NFC) and once in "
                    "decomposed ones (NFD); remove or rename one"
                )
            found /= same[0] if same else part
        return found

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            for path in folder.iterdir() if folder.is_dir() else ():
                names.setdefault(unicodedata.normalize("NFC", path.name), []).append(path.name)
            self._listed[folder] = names
        return self._listed[folder]
