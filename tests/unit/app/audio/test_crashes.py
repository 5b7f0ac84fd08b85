"""Small files on which decoding once did something else than answer or refuse, as `fuzz/decoder.py` looks for."""

from pathlib import Path

import numpy as np
import pytest

from app.audio.decode import decode
from app.errors import AudioError

FILES = sorted((Path(__file__).parent / "crashes").iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_answered_or_refused(path: Path) -> None:
    try:
        clip = decode(path.read_bytes())
    except AudioError as error:
        assert str(error)
        return
    assert len(clip.samples) > 0 and np.isfinite(clip.samples).all()
