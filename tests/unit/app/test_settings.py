"""Settings: from the environment, checked, and never ignored in silence."""

import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import SettingsInvalid
from app.settings import Settings
from tests.support import ROOT


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, "starter")
    assert Path(settings.model_store) == ROOT / "model_store"
    assert (settings.max_body_bytes, settings.max_transcript_characters) == (25_000_000, 2000)


def test_the_environment_sets_and_options_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEUM_PORT", "9000")
    monkeypatch.setenv("MAEUM_PRECISION", "fp32")
    settings = Settings.load(port=9001, host=None)
    assert (settings.port, settings.precision, settings.host) == (9001, "fp32", "127.0.0.1")


@pytest.mark.parametrize(("unknown", "closest"), [("MAEUM_MODLE", "MAEUM_MODEL"), ("maeum_thread", "MAEUM_THREADS")])
def test_an_unknown_variable_is_named_with_the_closest_one(
    monkeypatch: pytest.MonkeyPatch, unknown: str, closest: str
) -> None:
    monkeypatch.setenv(unknown, "1")
    with pytest.raises(SettingsInvalid, match=rf"{unknown}\. .* {closest}\."):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAEUM_PORT", "eighty"),
        ("MAEUM_PORT", "70000"),
        ("MAEUM_PRECISION", "int4"),
        ("MAEUM_MAX_QUEUE", "0"),
        *(("MAEUM_ROOT_PATH", wrong) for wrong in ("maeum", "/maeum/", "/", "//a", "/a/../b", "/a b", "https://x/a")),
        *(("MAEUM_FORWARDED_ALLOW_IPS", wrong) for wrong in ("proxy", "10.0.0.1/8", "127.0.0.1,*", "10.0.0")),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=re.escape(f"{variable} is '{value}'")):
        Settings.load()


NUMBERS = {
    name: described
    for name, described in Settings.model_json_schema()["properties"].items()
    if described.get("type") in ("integer", "number")
}
HOSTILE = (
    *("nan", "inf", "-inf", "Infinity", "1e400", "-1e400", "1e-400", "5e-324", "1e23", "9" * 23, "9" * 5000),
    *(
        "-1",
        "-0.001",
        "",
        " ",
        "0x10",
        "0b1",
        "1,5",
        "١٢",
        "１２",
        "½",
        "1e",
        "--1",
        "1 2",
        "true",
        "None",
        "1_0",
        "10",
    ),
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_in_its_documented_range_or_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable, low, high = f"MAEUM_{name.upper()}", NUMBERS[name]["minimum"], NUMBERS[name]["maximum"]
    assert math.isfinite(low) and math.isfinite(high)
    for value in HOSTILE:
        monkeypatch.setenv(variable, value)
        try:
            taken = getattr(Settings.load(), name)
        except SettingsInvalid as refused:
            assert variable in str(refused) and len(str(refused)) < 250 and "\n" not in str(refused)
        else:
            assert low <= taken <= high and taken == float(value)


def test_both_ends_of_every_range_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("minimum", "maximum"):
        settings = Settings.load(**{name: described[end] for name, described in NUMBERS.items()})
        assert all(getattr(settings, name) == described[end] for name, described in NUMBERS.items())


@pytest.mark.parametrize("value", ["", "-1", "١", "0,", "0;1", "0,9999", "9" * 5000, ",".join(["0"] * 1000)])
def test_gpus_are_a_short_list_of_numbers(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MAEUM_GPUS", value)
    with pytest.raises(SettingsInvalid, match="MAEUM_GPUS"):
        Settings.load()


@pytest.mark.parametrize(
    ("low", "high", "given"),
    [
        ("max_body_bytes", "max_upload_bytes", 20_000_000),
        ("max_decoded_bytes", "decode_memory_bytes", 200_000_000),
        ("timeout_s", "max_timeout_s", 20),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(low: str, high: str, given: float) -> None:
    names = f"MAEUM_{low.upper()} .* MAEUM_{high.upper()} "
    with pytest.raises(SettingsInvalid, match=names):
        Settings.load(**{low: given + 1, high: given})
    assert getattr(Settings.load(**{low: given, high: given}), low) == given


def test_a_home_folder_needs_no_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MAEUM_MODEL_STORE", "~/models")
    monkeypatch.setenv("MAEUM_KEYS_FILE", "~/keys")
    settings = Settings.load()
    assert (settings.model_store, settings.keys_file) == (str(tmp_path / "models"), tmp_path / "keys")
    assert Settings.load(model_store="s3://bucket/~/models").model_store == "s3://bucket/~/models"
    with pytest.raises(SettingsInvalid, match="MAEUM_MODEL_STORE is '~nobody-at-all': it begins with ~"):
        Settings.load(model_store="~nobody-at-all")


def test_settings_are_frozen_and_described() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("given", ["", "*", "127.0.0.1", "::1, 10.0.0.0/8", "2001:db8::/32"])
def test_proxies_that_are_believed(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MAEUM_FORWARDED_ALLOW_IPS", given)
    assert Settings.load().forwarded_allow_ips == given


@pytest.mark.parametrize("given", ["", "/maeum", "/speech/v1", "/a.b_c-d~e"])
def test_prefixes(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MAEUM_ROOT_PATH", given)
    assert Settings.load().root_path == given
