"""Presets say what they mean and nothing else is taken."""

import pytest

from training.config import ConfigError, load_preset, preset_names


def test_paper_is_what_was_published() -> None:
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


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"audio.layers": 3}, "audio.layers"),
        ({"train.audio.epochs": 0}, "train.audio.epochs"),
        ({"audio.block.heads": 5}, "5 heads do not divide the width"),
        ({"text.encoder.name": 1}, "encoder is a value"),
    ],
)
def test_a_wrong_value_is_named(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_preset("starter", overrides)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="paper, starter"):
        load_preset("huge")
