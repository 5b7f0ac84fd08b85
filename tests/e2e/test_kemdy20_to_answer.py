"""From a KEMDy20 folder to a served model with the README's four commands, on a synthetic copy of the corpus."""

import json
from pathlib import Path

import pytest
from synthetic_kemdy20 import EMOTIONS, write_tree

from app.cli import main as maeum
from training.cli import main as maeum_train
from training.smoke import TINY, make_encoder


def test_four_commands_from_a_corpus_to_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "KEMDy20", utterances_per_session=12)
    encoder = make_encoder(tmp_path / "encoder", [said for _, _, said in EMOTIONS.values()])
    data, run, store = (str(tmp_path / name) for name in ("data", "run", "store"))
    tiny = [f"{key}={json.dumps(value)}" for key, value in TINY.items()]

    assert maeum_train(["prepare", "kemdy20", "--source", str(tmp_path / "KEMDy20"), "--output", data]) == 0
    trained = ["train", "all", "--preset", "paper", "--data", data, "--output", run]
    assert maeum_train([*trained, "--text-encoder", str(encoder), "--cpu", "--set", *tiny]) == 0
    exported = ["export", "--run", run, "--store", store, "--name", "kemdy20", "--version", "1.0.0", "--data", data]
    assert maeum_train(exported) == 0
    capsys.readouterr()

    clip = next((tmp_path / "KEMDy20").glob("**/Session01/*.wav"))
    asked = ["predict", str(clip), "--transcript", "정말 좋아", "--model-store", store, "--model", "kemdy20", "--json"]
    assert maeum(asked) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["model"] == {"name": "kemdy20", "version": "1.0.0"}
    assert answer["modalities"] == ["audio", "text"]
    manifest = json.loads((tmp_path / "store" / "kemdy20" / "1.0.0" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["preset"] == "paper"
    assert any(name.startswith("emotion of kemdy20") for name in manifest["evaluation"])
