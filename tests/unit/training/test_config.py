"""Presets have the intended values, and a setting that is unknown or wrong is refused."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from training.config import Config, ConfigError, load_preset, preset_names


def test_the_paper_preset_has_the_published_values() -> None:
    config = load_preset("paper")
    assert (config.audio.block.layers, config.text.block.layers, config.emotion.block.layers) == (7, 5, 4)
    assert (config.audio.block.feed_forward, config.emotion.block.feed_forward) == (1024, 3072)
    assert (config.audio.recurrent, config.text.recurrent, config.emotion.recurrent) == (64, 64, 128)
    assert config.emotion.classes == ("neutral", "sad", "happy", "surprise", "angry")
    train = config.train
    assert {stage.learning_rate for stage in (train.audio, train.text, train.emotion)} == {2e-5}
    assert (train.audio.decay, train.text.decay, train.emotion.decay) == (0.8, 0.6, 0.8)
    assert (train.audio.epochs, train.text.epochs, train.emotion.epochs) == (20, 30, 30)
    assert (train.audio.batch_size, train.text.batch_size, train.emotion.batch_size) == (32, 16, 16)
    assert config.text.frozen


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    assert load_preset(name).preset == name


def test_an_override_goes_before_the_preset() -> None:
    config = load_preset("starter", {"train.audio.epochs": 3, "text.encoder": "somewhere"})
    assert config.train.audio.epochs == 3
    assert config.text.encoder == "somewhere"
    assert config.train.text == load_preset("starter").train.text


def leaves(model: type[BaseModel], values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, value and annotation of every single setting."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is not None and values[name] is not None:
            yield from leaves(inner, values[name], f"{prefix}{name}.")
        elif inner is None:
            yield f"{prefix}{name}", values[name], field.annotation


def other(value: Any, annotation: Any) -> Any:
    """Another value that the setting takes."""
    choices = [choice for choice in get_args(annotation) if isinstance(choice, str) and choice != value]
    if choices:
        return choices[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 + 32 * (value == 0)  # heads: a double still divides the width
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, dict):
        return {**value, "c": 2}
    if isinstance(value, tuple):
        return [entry * 2 if isinstance(entry, int | float) else f"{entry}s" for entry in value]
    if value is None:
        return 0.25 if float in get_args(annotation) else 3
    return "another"


@pytest.mark.parametrize("preset", preset_names())
def test_an_override_changes_its_own_setting_alone(preset: str) -> None:
    before = {key: value for key, value, _ in leaves(Config, load_preset(preset).model_dump())}
    kinds = {key: kind for key, _, kind in leaves(Config, load_preset(preset).model_dump())}
    for key, value in before.items():
        if key in ("preset", "train.audio.accumulate", "train.text.accumulate"):  # the two are refused
            continue
        changed = other(value, kinds[key])
        after = {name: found for name, found, _ in leaves(Config, load_preset(preset, {key: changed}).model_dump())}
        assert {name for name in before if after[name] != before[name]} == {key}, key


def test_a_presets_table_keeps_the_defaults_that_it_does_not_name() -> None:
    config = load_preset("starter")
    assert (config.train.emotion.epochs, config.train.emotion.batch_size) == (30, 16)
    assert (config.audio.block.heads, config.text.block.feed_forward, config.emotion.block.feed_forward) == (
        6,
        768,
        3072,
    )
    changed = load_preset("starter", {"text.block": {"layers": 2}, "train.text.repeat.nsmc": 3})
    assert (changed.text.block.layers, changed.text.block.feed_forward) == (2, 768)
    assert changed.train.text.repeat == {"kote": 20, "spoken_ko": 70, "nsmc": 3}
    assert load_preset("starter", {"train.text.repeat": {"nsmc": 3}}).train.text.repeat == {"nsmc": 3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"audio.layers": 3}, "audio.layers"),
        ({"train.audio.epochs": 0}, "train.audio.epochs"),
        ({"audio.block.heads": 5}, "5 heads do not divide the width"),
        ({"text.encoder.name": 1}, "encoder is a value"),
    ],
)
def test_a_wrong_value_is_named(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_preset("starter", overrides)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="paper, starter"):
        load_preset("huge")


def test_classes_are_evened_out_once() -> None:
    with pytest.raises(ConfigError, match="together, rare ones dominate"):
        load_preset("paper", {"train.emotion.class_weights": True, "train.emotion.balanced": True})
