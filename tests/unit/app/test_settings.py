"""Settings: from the environment, checked, and never ignored in silence."""

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
    [("MAEUM_PORT", "eighty"), ("MAEUM_PORT", "70000"), ("MAEUM_PRECISION", "int4"), ("MAEUM_MAX_QUEUE", "0")],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=f"{variable} is '{value}'"):
        Settings.load()


def test_settings_are_frozen_and_described() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
    assert all(field.description for field in Settings.model_fields.values())
