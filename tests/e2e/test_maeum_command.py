"""`maeum` as a person meets it: in a process of its own where that matters, else in this one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.cli import main

MAEUM = Path(sys.executable).with_name("maeum")
MakeSpeech = Callable[..., NDArray[np.float32]]
MakeFile = Callable[..., bytes]


@pytest.fixture
def here(store: Path, tmp_path: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three clips, the second of them broken, and the tiny model store."""
    monkeypatch.setenv("MAEUM_MODEL_STORE", str(store))
    monkeypatch.setenv("MAEUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(wav)
    (tmp_path / "broken.wav").write_bytes(wav[:20])
    (tmp_path / "c.wav").write_bytes(wav)
    return tmp_path


def test_predict_prints_its_answer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "--transcript", "정말 고마워요"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"a\.wav\n  arousal  \d\.\d\d .*\n  valence  \d\.\d\d .*\n  emotion  \w+ \d+%", printed.out)
    assert printed.err == ""


def test_predict_prints_one_json_object_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "c.wav", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["file"], second["file"]) == ("a.wav", "c.wav")
    assert first["arousal"] == second["arousal"] and first["valence"] is None
    assert first["audio"] == {
        **{"duration_s": 1.0, "sample_rate": 16000, "channels": 1, "channel": "mix"},
        **{"speech": None, "speech_s": None, "used": {"start_s": 0.0, "end_s": 1.0}},
    }


def test_a_bad_file_does_not_keep_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "broken.wav", "absent.wav", ".", "c.wav", "--json"]) == 1
    printed = capsys.readouterr()
    assert [json.loads(line)["file"] for line in printed.out.splitlines()] == ["a.wav", "c.wav"]
    assert "maeum: broken.wav: audio_undecodable: " in printed.err
    assert "maeum: absent.wav: file_unreadable: No such file" in printed.err
    assert "maeum: .: file_unreadable: " in printed.err
    assert "5/5" in printed.err  # the progress bar
    assert "Traceback" not in printed.err


def test_a_name_that_is_no_text(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = os.fsdecode(b"\xb0\xa1.wav")  # Hangul in cp949
    shutil.copy("a.wav", strange)
    assert main(["predict", strange, "--json"]) == 0
    assert main(["predict", "absent-" + strange]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["file"].endswith(".wav") and "file_unreadable" in printed.err


def test_a_transcript_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--transcript", "정말 고마워요", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] is None and answer["arousal"] is None and answer["modalities"] == ["text"]


def test_a_transcript_in_another_encoding_is_refused(here: Path) -> None:
    for locale in ("C.UTF-8", "C", "POSIX"):
        told = subprocess.run(
            [MAEUM, "predict", "a.wav", "--transcript", "정말 고마워요".encode("euc-kr")],
            env=os.environ | {"LC_ALL": locale},
            capture_output=True,
            text=True,
        )
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == "maeum: The --transcript is not UTF-8; set the terminal to UTF-8, or convert the text.\n"


def test_a_channel_can_be_judged_alone(
    here: Path, make_speech: MakeSpeech, make_file: MakeFile, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "call.wav").write_bytes(make_file(np.stack([make_speech(1.0), make_speech(1.0, seed=4)], axis=1)))
    for asked, used in (("mix", "mix"), ("0", 0), ("1", 1)):
        assert main(["predict", "call.wav", "--channel", asked, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["audio"]["channel"] == used
    assert main(["predict", "call.wav", "--channel", "2"]) == 1
    assert "maeum: call.wav: channel_missing: Channel 2 was asked for" in capsys.readouterr().err
    for wrong in ("left", "-1", "1.0", "²", "99999999999999999999"):
        with pytest.raises(SystemExit, match="2"):
            main(["predict", "call.wav", f"--channel={wrong}"])
        assert "is neither mix nor a number from 0" in capsys.readouterr().err


def test_a_blank_transcript_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--transcript", " "]) == 1
    assert "maeum: transcript: nothing_given: " in capsys.readouterr().err


def test_a_warning_is_printed(
    here: Path, make_speech: MakeSpeech, make_file: MakeFile, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "short.wav").write_bytes(make_file(make_speech(0.1)))
    assert main(["predict", "short.wav"]) == 0
    assert "  warning  The audio holds 0.10 s of speech" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "a.wav", "--model", "absent"], "absent is not in the model store"),
        (["predict", "a.wav", "--precision", "fp16"], "no fp16 graphs"),
        (["predict", "a.wav", "--model-store", "nowhere"], "cannot be read: No such file"),
        (["serve", "--port", "70000"], "MAEUM_PORT is 70000"),
        (["serve", "--host", "256.0.0.1", "--port", "0"], "Cannot listen on 256.0.0.1"),
    ],
)
def test_a_failure_is_one_sentence(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("maeum: ") and message in printed.err and printed.err.count("\n") == 1


def test_wrong_usage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict"]) == 2
    assert "Give a FILE" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([])


def test_an_unknown_variable_stops_every_command(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAEUM_MODELSTORE", "x")
    assert main(["models"]) == 1
    assert "MAEUM_MODELSTORE. The closest one is MAEUM_MODEL_STORE" in capsys.readouterr().err


def test_models_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["MODEL", "PRECISIONS", "SIZE", "LICENCE", "CREATED"]
    assert row.split() == ["starter/0.1.0", "fp32,", "int8", "0.0", "MB", "Apache-2.0", "2026-01-01"]


def test_a_broken_version_does_not_hide_the_others(
    here: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(store, here / "store"))
    (copy / "starter" / "0.2.0").mkdir()
    (copy / "starter" / "0.2.0" / "manifest.json").write_text("{}")
    monkeypatch.setenv("MAEUM_MODEL_STORE", str(copy))
    assert main(["models"]) == 1
    printed = capsys.readouterr()
    assert "starter/0.1.0" in printed.out and "0.2.0" in printed.err


# In a process of its own


@pytest.fixture
def service(here: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`maeum serve` on a free port, ready, and its address."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [str(MAEUM), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    address = ""
    try:
        for line in process.stdout:
            if found := re.search(r"curl -F audio=@\S+ (http://\S+)/predict", line):
                address = found[1]
                break
        assert address, "the service ended before it was ready"
        yield process, address
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_serve_answers_and_ends_at_sigterm(service: tuple[subprocess.Popen[str], str], wav: bytes) -> None:
    process, address = service
    with httpx.Client(base_url=address, timeout=20) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.get("/docs").status_code == 200
        answer = client.post("/predict", files={"audio": wav}, data={"transcript": "정말 고마워요"})
        assert answer.status_code == 200 and answer.json()["modalities"] == ["audio", "text"]
        too_large = client.post("/predict", files={"audio": wav + b"\0" * 25_000_000})
        assert too_large.json()["code"] == "body_too_large"
        assert client.post("/predict", files={"audio": wav}).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert process.stdout is not None and "Traceback" not in process.stdout.read()


def test_serve_ends_where_the_model_is_damaged(here: Path, store: Path) -> None:
    copy = Path(shutil.copytree(store, here / "store"))
    (copy / "starter" / "0.1.0" / "emotion.onnx").write_bytes(b"x")
    command = [str(MAEUM), "serve", "--port", "0", "--model-store", str(copy)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "maeum: " in ended.stderr and "emotion.onnx has 1 bytes" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_serve_says_that_the_port_is_taken(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        started = time.monotonic()
        assert main(["serve", "--port", port]) == 1
        assert time.monotonic() - started < 5


def test_predict_in_a_pipe_that_closes(here: Path) -> None:
    command = f"{MAEUM} predict a.wav c.wav a.wav c.wav | true"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "command", [["predict", "a.wav"], ["predict", "a.wav", "--json"], ["models"], ["key", "shop"]], ids=" ".join
)
def test_a_full_disk_is_a_sentence(here: Path, command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([MAEUM, *command], stdout=full, stderr=subprocess.PIPE, text=True)
        assert run.returncode == 1
        assert run.stderr.endswith("maeum: The output cannot be written: No space left on device.\n")
        assert "Traceback" not in run.stderr and "Exception ignored" not in run.stderr
        assert subprocess.run([MAEUM, *command[:1], "-absent"], stdout=full, stderr=full).returncode == 2
        assert subprocess.run([MAEUM, "predict", "absent.wav"], stdout=full, stderr=full).returncode == 1


def test_the_models_of_a_folder_that_is_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--model-store", "nowhere"]) == 1
    assert "MAEUM_MODEL_STORE" in capsys.readouterr().err
    (here / "empty").mkdir()
    assert main(["models", "--model-store", "empty"]) == 0
