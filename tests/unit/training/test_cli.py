"""`maeum-train` where its libraries are missing, and what it loads before a command is chosen."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

EXTRA = ("accelerate", "dtaidistance", "matplotlib", "huggingface_hub", "onnx", "safetensors", "scipy", "sklearn")
EXTRA += ("tensorboard", "torch", "transformers")


def maeum_train(*arguments: str, before: str = "pass", after: str = "pass") -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, with statements before it and after it."""
    code = f"import sys; {before}\nfrom training.cli import main\ntry: sys.exit(main(sys.argv[1:]))\nfinally: {after}"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def without_the_extra(*arguments: str) -> subprocess.CompletedProcess[str]:
    return maeum_train(*arguments, before=f"sys.modules.update(dict.fromkeys({EXTRA}))")


@pytest.mark.parametrize(
    "command",
    [
        ("smoke",),
        ("train", "all", "--data", "data", "--output", "run"),
        ("export", "--run", "run", "--name", "mine", "--version", "1.0.0"),
        ("starter", "--source", "corpora", "--version", "1.0.0"),
        ("import-original", "--help"),
        ("biosignals", "--help"),
    ],
    ids=lambda command: command[0],
)
def test_without_the_training_extra_a_sentence_says_what_to_install(command: tuple[str, ...]) -> None:
    done = without_the_extra(*command)
    assert done.returncode == 1
    assert done.stdout == ""
    library, separator, advice = done.stderr.removeprefix("maeum-train: ").partition(" is not installed: ")
    assert library in EXTRA and separator
    assert advice == "run `make setup`, or `pip install '.[train]'`.\n"


def test_a_corpus_is_prepared_without_the_training_extra(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("transcript,emotion\n좋아요,happy\n", encoding="utf-8")
    done = without_the_extra("prepare", "csv", "--source", str(table), "--output", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_no_library_of_training(option: str) -> None:
    loaded = f"print('LOADED', *sorted({set(EXTRA)} & set(sys.modules)))"
    done = maeum_train(option, after=loaded)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LOADED\n")


def test_a_missing_module_of_our_own_is_no_missing_library() -> None:
    done = maeum_train("smoke", before="sys.modules['training.recipes.smoke'] = None")
    assert "Traceback" in done.stderr
