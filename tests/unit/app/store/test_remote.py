"""A model store at an address: found, fetched, kept, and failures half way."""

import functools
import hashlib
import http.server
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import onnx
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from onnx import external_data_helper, numpy_helper

from app.cli import main
from app.engine.engine import ModelInput
from app.engine.load import load_model
from app.errors import MaeumError, ModelCorrupt, ModelNotFound, ModelUnreachable
from app.settings import Settings
from app.store.cache import ModelCache
from app.store.remote import RemoteStore, is_address
from app.store.versions import list_versions, load_manifest, verify
from tests.support.damage import flip

MakeVersion = Callable[..., Path]


class Watched(LocalFileSystem):
    """A folder of this machine as an address, watched://FOLDER, whose answers a test can spoil."""

    protocol = "watched"
    opened: ClassVar[list[str]] = []
    before_open: ClassVar[Callable[[str], object]] = lambda path: None
    before_list: ClassVar[Callable[[], object]] = lambda: None

    def open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        type(self).opened.append(Path(path).name)
        type(self).before_open(path)
        return super().open(path, *args, **kwargs)

    def ls(self, path: str, *args: Any, **kwargs: Any) -> Any:
        type(self).before_list()
        return super().ls(path, *args, **kwargs)


@pytest.fixture(autouse=True)
def _protocols(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fsspec.register_implementation("watched", Watched, clobber=True)
    monkeypatch.setattr(Watched, "opened", [])
    monkeypatch.setattr(Watched, "before_open", lambda path: None)
    monkeypatch.setattr(Watched, "before_list", lambda: None)
    yield
    Watched.clear_instance_cache()
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def remote(store: Path, tmp_path: Path) -> Path:
    """The folder behind a watched:// store, with the tiny version in it."""
    return Path(shutil.copytree(store, tmp_path / "remote"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _cache(remote: Path, kept: Path) -> ModelCache:
    return ModelCache(kept, RemoteStore(f"watched://{remote}"))


def _left(kept: Path) -> list[str]:
    """The versions in the cache and anything else next to them."""
    return sorted("/".join(path.parts[-2:]) for path in kept.glob("models/*/*/*"))


def _unreachable(*_: object) -> None:
    raise ConnectionError("https://user:secret@host/ does not answer")


def test_addresses_and_folders() -> None:
    assert is_address("s3://bucket/models") and is_address("memory://models")
    assert is_address("simplecache::s3://bucket/models")
    assert not any(map(is_address, ("model_store", "/srv/models", "C:\\models", ".")))


def test_a_model_is_served_from_an_address(store: Path, kept: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(store / "starter"), "/models/starter", recursive=True)
    settings = Settings(model_store="memory://models", model_cache=kept, threads=1)
    here = load_model(Settings(model_store=store, threads=1))
    batch = [ModelInput(np.ones(8000, dtype=np.float32) / 4, np.array([2, 8, 3]))]
    assert load_model(settings).predict(batch) == here.predict(batch)
    # A version never changes, so the store is not needed a second time.
    memory.rm("/models", recursive=True)
    assert load_model(settings.model_copy(update={"model": "starter/0.1.0"})).predict(batch) == here.predict(batch)


def test_a_plain_web_server_is_a_store(remote: Path, kept: Path) -> None:
    pytest.importorskip("aiohttp", reason="the package for https:// is the operator's to install")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=remote)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cache = ModelCache(kept, RemoteStore(f"http://127.0.0.1:{server.server_port}"))
        with pytest.raises(ModelNotFound, match=r"holds starter/0\.1\.0"):
            cache.fetch("starter/0.2.0")
        folder, manifest = cache.fetch("starter")
        verify(folder, manifest)
        server.shutdown()


def test_the_cache_is_a_model_store(remote: Path, kept: Path) -> None:
    folder, manifest = _cache(remote, kept).fetch("starter")
    assert list_versions(folder.parents[1]) == [folder]
    verify(folder, load_manifest(folder))
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(stored.file for stored in manifest.files())}
    assert _left(kept) == ["starter/0.1.0"]


def test_a_name_is_its_newest_version_in_the_store(remote: Path, kept: Path, make_version: MakeVersion) -> None:
    cache = _cache(remote, kept)
    assert cache.fetch("starter")[1].version == "0.1.0"
    make_version(remote, version="0.10.0")
    make_version(remote, version="0.9.0")
    assert cache.fetch("starter")[1].version == "0.10.0"
    assert cache.fetch("starter/0.9.0")[1].version == "0.9.0"
    shutil.rmtree(remote / "starter" / "0.10.0")  # withdrawn
    assert cache.fetch("starter")[1].version == "0.9.0"


def test_while_the_store_is_away_the_newest_in_the_cache_is_taken(
    remote: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = _cache(remote, kept)
    cache.fetch("starter")
    monkeypatch.setattr(Watched, "before_open", _unreachable)
    monkeypatch.setattr(Watched, "before_list", _unreachable)
    assert cache.fetch("starter/0.1.0")[1].version == "0.1.0" and caplog.text == ""
    assert cache.fetch("starter")[1].version == "0.1.0"
    assert "starter/0.1.0" in caplog.text
    assert "secret" not in caplog.text and str(remote) not in caplog.text and str(kept) not in caplog.text
    for model in ("starter/0.2.0", "other"):
        with pytest.raises(ModelUnreachable, match="ConnectionError") as refused:
            cache.fetch(model)
        assert "secret" not in str(refused.value)


def test_while_a_new_version_cannot_be_fetched_the_newest_in_the_cache_is_taken(
    remote: Path,
    kept: Path,
    make_version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = _cache(remote, kept)
    cache.fetch("starter")
    make_version(remote, version="0.2.0")
    with monkeypatch.context() as cut:
        cut.setattr(Watched, "before_open", _unreachable)
        assert cache.fetch("starter")[1].version == "0.1.0"
        assert "starter/0.1.0" in caplog.text
        with pytest.raises(ModelUnreachable):
            cache.fetch("starter/0.2.0")
    assert cache.fetch("starter")[1].version == "0.2.0"


@pytest.mark.parametrize("model", ["other", "starter/0.2.0"])
def test_a_missing_model_is_reported_with_the_existing_ones(remote: Path, kept: Path, model: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"{model} is not in the model store, which has starter/0\.1\.0\."):
        _cache(remote, kept).fetch(model)


def test_an_empty_store(tmp_path: Path, kept: Path) -> None:
    for model in ("starter", "starter/0.1.0"):
        with pytest.raises(ModelNotFound, match="has no versions"):
            _cache(tmp_path / "absent", kept).fetch(model)


def test_two_stores_do_not_mix(remote: Path, kept: Path, tmp_path: Path) -> None:
    _cache(remote, kept).fetch("starter/0.1.0")
    with pytest.raises(ModelNotFound):
        _cache(tmp_path / "other", kept).fetch("starter/0.1.0")
    assert RemoteStore("github://o:a@main/m").key != RemoteStore("github://o:b@main/m").key
    assert RemoteStore("s3://bucket/m").key == RemoteStore("s3://bucket/m/").key


def test_a_damaged_version_in_the_cache_is_fetched_again(
    remote: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = _cache(remote, kept).fetch("starter")
    for damage in (lambda path: path.write_bytes(b"x"), Path.unlink):
        damage(folder / "emotion.onnx")
        assert _cache(remote, kept).fetch("starter/0.1.0")[0] == folder
        verify(folder, load_manifest(folder))
        assert _left(kept) == ["starter/0.1.0"]
    assert "emotion.onnx" in caplog.text and str(kept) not in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "larger"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, not the"),
        (Path.unlink, "is not in the model store"),
    ],
)
def test_a_version_damaged_in_the_store_is_not_kept(
    remote: Path, kept: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(remote / "starter" / "0.1.0" / "tokenizer.json")
    with pytest.raises(ModelCorrupt, match=rf"^starter/0\.1\.0: tokenizer\.json .*{message}"):
        _cache(remote, kept).fetch("starter")
    assert _left(kept) == []


def test_an_interrupted_download_leaves_nothing(remote: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "before_open", lambda path: path.endswith("tokenizer.json") and _unreachable())
    with pytest.raises(ModelUnreachable, match="ConnectionError"):
        _cache(remote, kept).fetch("starter")
    assert _left(kept) == []


def test_a_manifest_that_is_no_manifest(remote: Path, kept: Path) -> None:
    path = remote / "starter" / "0.1.0" / "manifest.json"
    path.write_text(json.dumps({"a": "b" * 1_000_000}))
    with pytest.raises(ModelCorrupt, match="larger"):
        _cache(remote, kept).fetch("starter")
    path.write_text("{}")
    with pytest.raises(ModelCorrupt, match="not a manifest"):
        _cache(remote, kept).fetch("starter")
    assert _left(kept) == []


def _edit(remote: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = remote / "starter" / "0.1.0" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.pkl", "weights.bin", "graph.onnx.zip", "run.py", "README"])
def test_other_kinds_of_files_are_refused_before_they_are_fetched(remote: Path, kept: Path, name: str) -> None:
    _edit(remote, lambda manifest: manifest.update(checkpoint={"file": name, "sha256": "0" * 64, "bytes": 1}))
    with pytest.raises(ModelCorrupt, match=r"checkpoint\.file"):
        _cache(remote, kept).fetch("starter")
    assert set(Watched.opened) == {"manifest.json"}


@pytest.mark.parametrize("kind", ["pickle", "zip"])
@pytest.mark.parametrize("name", ["emotion.onnx", "tokenizer.json", "MODEL_CARD.md", "checkpoint.safetensors"])
def test_a_pickle_under_another_name_is_refused(remote: Path, kept: Path, kind: str, name: str) -> None:
    path = remote / "starter" / "0.1.0" / name
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1.0] * 20}))
    else:
        with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes it
            archive.writestr("archive/data.pkl", b"x" * 20)
    content = path.read_bytes()
    stored = {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def pin(manifest: dict[str, Any]) -> None:
        if name == "emotion.onnx":
            manifest["graphs"]["fp32"]["emotion"] = stored
        elif name == "tokenizer.json":
            manifest["text"]["tokenizer"] = stored
        else:
            manifest["card" if name == "MODEL_CARD.md" else "weights"] = stored

    _edit(remote, pin)
    with pytest.raises(ModelCorrupt, match=f"{name} is not a valid .* no pickles"):
        _cache(remote, kept).fetch("starter")
    with pytest.raises(ModelCorrupt, match=f"{name} is not a valid .* no pickles"):
        load_model(Settings(model_store=remote))
    assert _left(kept) == []


def test_more_than_the_disk_holds_is_not_begun(remote: Path, kept: Path) -> None:
    _edit(remote, lambda manifest: manifest["text"]["tokenizer"].update(bytes=10**18))
    with pytest.raises(ModelUnreachable, match=r"No space left.*MAEUM_MODEL_CACHE"):
        _cache(remote, kept).fetch("starter")
    assert set(Watched.opened) == {"manifest.json"} and _left(kept) == []


_FETCH = """
import sys
from pathlib import Path
from app.store.cache import ModelCache
from app.errors import MaeumError
from app.store.remote import RemoteStore
cache = ModelCache(Path(sys.argv[2]), RemoteStore("file://" + sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    cache.fetch("starter")
except MaeumError as error:
    sys.exit(f"{error.code}: {error}")
"""


def _fetching(remote: Path, kept: Path, **options: Any) -> subprocess.Popen[str]:
    """A process that fetches as soon as it is sent a line."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _FETCH, str(remote), str(kept)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_write_that_fails_leaves_nothing(remote: Path, kept: Path) -> None:
    largest = max(path.stat().st_size for path in (remote / "starter" / "0.1.0").iterdir())
    limit = (largest - 1, largest - 1)
    process = _fetching(remote, kept, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    _, printed = process.communicate("\n", timeout=60)
    assert process.returncode == 1
    assert printed.startswith("model_unreachable: starter/0.1.0 cannot be stored in the model cache: File too large")
    assert "Traceback" not in printed and str(kept) not in printed
    assert _left(kept) == []


def test_a_killed_process_leaves_no_version(remote: Path, kept: Path) -> None:
    card = remote / "starter" / "0.1.0" / "MODEL_CARD.md"
    content = card.read_bytes()
    card.unlink()
    os.mkfifo(card)  # its reader waits for a writer
    process = _fetching(remote, kept)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    with card.open("wb"):  # opens when the process reads: it is in the midst of it
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
    process.communicate()
    card.unlink()
    card.write_bytes(content)
    (leftover,) = kept.glob("models/*/.fetch-*")
    assert [list_versions(folder) for folder in kept.glob("models/*")] == [[]]

    cache = ModelCache(kept, RemoteStore(f"file://{remote}"))
    folder, manifest = cache.fetch("starter")
    verify(folder, manifest)
    assert leftover.exists()  # it might be a process's that still fetches
    for path in (leftover, *leftover.rglob("*")):
        os.utime(path, (0, 0))
    (folder / "emotion.onnx").unlink()
    cache.fetch("starter")
    assert not leftover.exists() and _left(kept) == ["starter/0.1.0"]


def test_several_processes_fetch_the_same_at_once(remote: Path, kept: Path) -> None:
    processes = [_fetching(remote, kept) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 3
    (folder,) = kept.glob("models/*/starter/0.1.0")
    verify(folder, load_manifest(folder))
    assert _left(kept) == ["starter/0.1.0"]


@pytest.mark.parametrize("damaged", [False, True])
def test_the_second_fetch_takes_the_version_of_the_first(
    remote: Path, kept: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damaged:
        folder, _ = _cache(remote, kept).fetch("starter")
        (folder / "emotion.onnx").write_bytes(b"x")
    both = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(Watched, "before_open", lambda path: path.endswith("manifest.json") and both.wait())
    with ThreadPoolExecutor(2) as threads:
        fetched = list(threads.map(lambda _: _cache(remote, kept).fetch("starter/0.1.0"), range(2)))
    assert fetched[0] == fetched[1]
    verify(*fetched[0])
    assert _left(kept) == ["starter/0.1.0"]


def test_a_cache_that_cannot_be_written(remote: Path, kept: Path) -> None:
    kept.write_text("a file, where a folder should be")
    with pytest.raises(ModelUnreachable, match="cannot be stored in the model cache: Not a directory") as refused:
        _cache(remote, kept).fetch("starter")
    assert str(kept) not in str(refused.value)


@pytest.mark.parametrize("address", ["absent://user:secret@bucket/m", "nonsense://user:secret@bucket/m"])
def test_a_protocol_that_is_not_installed(address: str, kept: Path) -> None:
    fsspec.register_implementation(
        "absent", "no_such_package.FileSystem", clobber=True, errtxt="Install no-such-package to access it"
    )
    with pytest.raises(ModelUnreachable, match=r"Install no-such-package|check its protocol") as refused:
        load_model(Settings(model_store=address, model_cache=kept))
    assert "secret" not in str(refused.value) and "bucket" not in str(refused.value)


def test_models_lists_a_store_at_an_address(
    remote: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAEUM_MODEL_CACHE", str(kept))
    broken = remote / "starter" / "0.2.0" / "manifest.json"
    broken.parent.mkdir()
    broken.write_text("{}")
    assert main(["models", "--model-store", f"watched://{remote}"]) == 1
    printed = capsys.readouterr()
    assert "starter/0.1.0" in printed.out and "starter/0.2.0: manifest.json is not a manifest" in printed.err
    assert str(remote) not in printed.out + printed.err and not kept.exists()


@pytest.mark.parametrize("location", ["../outside.bin", "{absolute}", "link.bin"])
def test_weights_outside_a_version_are_refused(store: Path, tmp_path: Path, location: str) -> None:
    """The runtime itself refuses them; this fails should it ever stop."""
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    folder = copy / "starter" / "0.1.0"
    outside = tmp_path / "store" / "starter" / "outside.bin"
    (folder / "link.bin").symlink_to(outside)
    path = folder / "emotion.onnx"
    graph = onnx.load(path)
    (weights,) = (weights for weights in graph.graph.initializer if weights.name == "emotion_weights")
    values = numpy_helper.to_array(weights)
    outside.write_bytes(values.tobytes())
    weights.raw_data = values.tobytes()
    external_data_helper.set_external_data(weights, location.format(absolute=outside), 0, values.nbytes)
    weights.ClearField("raw_data")
    path.write_bytes(graph.SerializeToString())
    content = path.read_bytes()
    stored = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    _edit(copy, lambda manifest: manifest["graphs"]["fp32"].update(emotion=stored))
    with pytest.raises(ModelCorrupt, match=r"starter/0\.1\.0: emotion\.onnx cannot be loaded") as refused:
        load_model(Settings(model_store=copy, precision="fp32"))
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("model", ["/srv/models/x", "../../secret", "s3://user:secret@bucket"])
def test_an_invalid_name_is_not_repeated(store: Path, model: str) -> None:
    with pytest.raises(MaeumError) as refused:
        load_model(Settings(model_store=store, model=model))
    assert model not in str(refused.value)
