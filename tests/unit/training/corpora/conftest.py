from pathlib import Path

import pytest


@pytest.fixture
def shared_corpora() -> Path:
    folder = Path(__file__).parents[5] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("the starter's corpora are not beside the project")
    return folder
