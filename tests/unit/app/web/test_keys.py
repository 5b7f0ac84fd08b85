"""Keys: made, listed, found, exchanged while the service runs, and never shown."""

import logging
import os
from hashlib import sha256
from pathlib import Path

import pytest

from app.errors import SettingsInvalid
from app.web.keys import Key, KeyRing, new_key, print_new_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_new_key_is_found_by_its_line(path: Path) -> None:
    (alice, first), (root, second) = new_key("alice"), new_key("root", admin=True)
    path.write_text(f"# Keys of the house, 집\n\n{first}\n  {second}\r\n", encoding="utf-8")
    keys = KeyRing(path)
    assert keys.find(alice) == Key("alice", admin=False)
    assert keys.find(root) == Key("root", admin=True)
    for wrong in (
        "",
        "maeum_",
        alice[:-1],
        alice + "x",
        alice.upper(),
        sha256(alice.encode()).hexdigest(),
        "집",
        "\udc80",
    ):
        assert keys.find(wrong) is None


def test_a_key_is_long_random_and_not_in_its_line() -> None:
    made = [new_key("alice") for _ in range(10)]
    assert len({key for key, _ in made}) == 10
    for key, line in made:
        assert key.startswith("maeum_") and len(key) >= 6 + 43
        assert key not in line and line == f"alice {sha256(key.encode()).hexdigest()}"


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "집", "a\n", "#a"])
def test_a_name_that_cannot_stand_in_the_file_is_refused(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="name"):
        new_key(name)


def test_the_command_prints_the_line_where_it_can_be_appended(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_new_key("alice", admin=True)
    out, err = capsys.readouterr()
    path.write_text(out, encoding="utf-8")
    (key,) = (word for word in err.split() if word.startswith("maeum_"))
    assert KeyRing(path).find(key) == Key("alice", admin=True)
    assert out.count("\n") == 1 and key not in out


@pytest.mark.parametrize(
    "wrong",
    ["alice", "alice secret", f"alice {'0' * 63}", f"alice {'0' * 64} root", f"a b {'0' * 64}", f"\udcff {'0' * 64}"],
)
def test_a_wrong_line_is_named_by_its_number_and_not_shown(path: Path, wrong: str) -> None:
    path.write_text(f"# keys\n\n{new_key('bob')[1]}\n{wrong}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(SettingsInvalid, match="line 4") as caught:
        KeyRing(path)
    message = str(caught.value).replace(str(path), "")
    assert not any(word in message for word in ("alice", "secret", "000", "root"))


def test_the_same_key_twice_is_a_mistake(path: Path) -> None:
    line = new_key("alice")[1]
    path.write_text(f"{line}\n{line} admin\n", encoding="utf-8")
    with pytest.raises(SettingsInvalid, match="line 2"):
        KeyRing(path)


@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_a_file_that_cannot_be_read_is_an_error_at_start(path: Path, there: str) -> None:
    if there == "a folder":
        path.mkdir()
    with pytest.raises(SettingsInvalid, match=r"MAEUM_KEYS_FILE .* cannot be read"):
        KeyRing(path)


def test_a_key_is_exchanged_without_a_restart(path: Path) -> None:
    (old, old_line), (new, new_line) = new_key("alice"), new_key("alice")
    path.write_text(old_line, encoding="utf-8")
    keys = KeyRing(path)
    assert keys.find(old) and not keys.find(new)
    path.write_text(f"{old_line}\n{new_line}\n", encoding="utf-8")
    assert keys.find(old) == keys.find(new) == Key("alice", admin=False)
    replacement = path.with_suffix(".new")
    replacement.write_text(new_line, encoding="utf-8")
    replacement.replace(path)
    assert keys.find(new) and not keys.find(old)


def test_a_line_exchanged_for_one_as_long_at_the_same_time_is_noticed(path: Path) -> None:
    (old, old_line), (new, new_line) = new_key("alice"), new_key("alice")
    path.write_text(old_line, encoding="utf-8")
    keys = KeyRing(path)
    before = path.stat()
    replacement = path.with_suffix(".new")
    replacement.write_text(new_line, encoding="utf-8")
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(path)
    assert keys.find(new) and not keys.find(old)


def test_a_file_that_goes_wrong_leaves_the_keys_before_and_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, line = new_key("alice")
    path.write_text(line, encoding="utf-8")
    keys = KeyRing(path)
    path.write_text("not a line\n", encoding="utf-8")
    assert keys.find(key) and keys.find(key)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    path.unlink()
    assert keys.find(key) and keys.find(key)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    path.write_text("# nobody\n", encoding="utf-8")
    assert keys.find(key) is None
    assert caplog.records[-1].levelno == logging.WARNING


def test_the_log_holds_no_key_and_no_hash(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, line = new_key("alice")
    path.write_text(line, encoding="utf-8")
    keys = KeyRing(path)
    keys.find(key)
    path.write_text(f"{line}\n{key}\n", encoding="utf-8")
    keys.find(key)
    path.write_text(line + "\n", encoding="utf-8")
    keys.find("maeum_wrong")
    assert len(caplog.records) == 2
    assert key not in caplog.text and line.split()[1] not in caplog.text and "maeum_wrong" not in caplog.text
