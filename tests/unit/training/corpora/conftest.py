from pathlib import Path

import pytest

from tests.support import SHARED


@pytest.fixture
def shared_corpora() -> Path:
    folder = SHARED / "corpora"
    if not folder.is_dir():
        pytest.skip("the starter's corpora are not beside the project")
    return folder
