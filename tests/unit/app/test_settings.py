"""Settings: from the environment, checked, and never ignored in silence."""

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
