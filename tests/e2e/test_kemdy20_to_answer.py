"""From a KEMDy20 folder to a served model with the README's four commands, on a synthetic copy of the corpus."""

import json
from pathlib import Path

from starlette.testclient import TestClient

from app.engine.load import load_model
from app.settings import Settings
from app.store.versions import load_manifest
from app.web.api import create_app
from tests.support.synthetic_kemdy20 import EMOTIONS, write_tree
from training.cli import main
from training.recipes.smoke import TINY, make_encoder


def test_four_commands_from_a_corpus_to_an_answer(tmp_path: Path) -> None:
    write_tree(tmp_path / "KEMDy20", utterances_per_session=12)
    encoder = make_encoder(tmp_path / "encoder", [transcript for _, _, transcript in EMOTIONS.values()])
    data, run, store = (str(tmp_path / name) for name in ("data", "run", "store"))
    tiny = [f"{key}={json.dumps(value)}" for key, value in TINY.items() if value is not None]

    assert main(["prepare", "kemdy20", "--source", str(tmp_path / "KEMDy20"), "--output", data]) == 0
    trained = ["train", "all", "--preset", "paper", "--data", data, "--output", run]
    assert main([*trained, "--text-encoder", str(encoder), "--cpu", "--set", *tiny]) == 0
    exported = ["export", "--run", run, "--store", store, "--name", "kemdy20", "--version", "1.0.0", "--data", data]
    assert main(exported) == 0

    clip = next((tmp_path / "KEMDy20").glob("**/Session01/*.wav"))
    settings = Settings(model_store=tmp_path / "store", model="kemdy20", threads=1)
    with TestClient(create_app(settings, load_model(settings))) as client:
        answer = client.post(
            "/predict", files={"audio": clip.read_bytes()}, data={"transcript": "정말 행복하고"}
        ).json()
    assert answer["model"] == {"name": "kemdy20", "version": "1.0.0"}
    assert answer["modalities"] == ["audio", "text"]
    manifest = load_manifest(tmp_path / "store" / "kemdy20" / "1.0.0")
    assert manifest.preset == "paper"
    assert any(name.startswith("emotion of kemdy20") for name in manifest.evaluation)
