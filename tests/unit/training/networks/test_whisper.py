"""The audio network on Whisper's layers: its front-end, what an answer may depend on, its graph and its weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from app.engine.session import SIGNATURES
from training.config import AudioConfig, AudioEncoderConfig, BlockConfig
from training.export.onnx import export_graph
from training.features import HOP_LENGTH
from training.networks.text_encoder import EncoderError
from training.networks.whisper import LogMel, WhisperArousal, WhisperLayers, load_pretrained, whisper_config

MAX_FRAMES = 64
LENGTHS = (1, 159, 320, 511, 512, 700, 9_000, 20_000)
SHAPE = {"width": 64, "heads": 4, "feed_forward": 96}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of a Whisper encoder with random weights, as `transformers` saves them."""
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(1)
    WhisperEncoder(whisper_config(AudioEncoderConfig(name="", layers=3, **SHAPE))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["as it is", "with a block and an attentive head"])
def network(request: pytest.FixtureRequest, encoder: Path) -> WhisperArousal:
    pretrained = AudioEncoderConfig(name=str(encoder), layers=2, **SHAPE)
    plain = request.param == "as it is"
    config = AudioConfig(
        encoder=pretrained,
        block=BlockConfig(layers=0 if plain else 1, heads=4, feed_forward=32),
        head="mean" if plain else "attentive",
        max_frames=MAX_FRAMES,
    )
    torch.manual_seed(2)
    network = WhisperArousal(config, pretrained)
    load_pretrained(network.encoder, pretrained)
    return network.eval()


def make_waves(lengths: Sequence[int]) -> list[Tensor]:
    random = np.random.default_rng(3)
    return [
        torch.from_numpy(0.1 * np.sin(np.arange(n) * (0.02 + 0.01 * k)) + 0.02 * random.standard_normal(n)).float()
        for k, n in enumerate(lengths)
    ]


@torch.no_grad()
def test_the_embedding_may_be_the_mean_of_layers(encoder: Path) -> None:
    features, frames = torch.randn(1, 80, 40), torch.tensor([40])

    def embedded(layers: int, averaged: int) -> Tensor:
        config = AudioEncoderConfig(name=str(encoder), layers=layers, averaged=averaged, **SHAPE)
        network = WhisperLayers(config, 100).eval()
        load_pretrained(network, config)
        return network(features, frames)[0]

    first, second = embedded(1, 1), embedded(2, 1)
    torch.testing.assert_close(embedded(2, 2), (first + second) / 2)


@torch.no_grad()
def alone(network: WhisperArousal, wave: Tensor) -> tuple[Tensor, Tensor]:
    arousal, embedding, mask = network(wave[None], torch.tensor([len(wave)]))
    assert mask.all()
    return arousal[0], embedding[0]


def batched(waves: Sequence[Tensor], filler: float) -> tuple[Tensor, Tensor]:
    """Padded with `filler`, which must not change an answer."""
    length = torch.tensor([len(wave) for wave in waves])
    waveform = torch.full((len(waves), int(length.max())), filler)
    for row, wave in enumerate(waves):
        waveform[row, : len(wave)] = wave
    return waveform, length


@pytest.mark.parametrize("filler", [0.0, 0.7])
@torch.no_grad()
def test_an_answer_depends_on_neither_padding_nor_neighbours(network: WhisperArousal, filler: float) -> None:
    waves = make_waves(LENGTHS)
    arousal, embedding, mask = network(*batched(waves, filler))
    assert mask.sum(dim=1).tolist() == [1 + n // HOP_LENGTH for n in LENGTHS]
    for row, wave in enumerate(waves):
        expected, own = alone(network, wave)
        assert torch.allclose(arousal[row], expected, atol=1e-4)
        assert torch.allclose(embedding[row, : len(own)], own, atol=1e-4)
        assert not embedding[row, len(own) :].any()


def test_gain_changes_nothing(network: WhisperArousal) -> None:
    (wave,) = make_waves([12_000])
    (one, embedding), (quiet, as_quiet) = alone(network, wave), alone(network, 0.1 * wave)
    assert torch.allclose(one, quiet, atol=1e-4)
    assert torch.allclose(embedding, as_quiet, atol=1e-3)


def test_samples_past_the_longest_clip_are_not_used(network: WhisperArousal) -> None:
    (wave,) = make_waves([3 * MAX_FRAMES * HOP_LENGTH])
    arousal, embedding = alone(network, wave)
    expected, first = alone(network, wave[: network.max_samples])
    assert len(embedding) == MAX_FRAMES
    assert torch.equal(embedding, first) and torch.equal(arousal, expected)


def test_silence_has_an_answer(network: WhisperArousal) -> None:
    arousal, embedding = alone(network, torch.zeros(4_000))
    assert arousal.isfinite() and embedding.isfinite().all()


def test_the_exported_graph_answers_as_torch_does(network: WhisperArousal, tmp_path: Path) -> None:
    example = batched(make_waves([8_000, 6_000]), 0.0)
    path = export_graph(network, "audio_arousal", example, tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for lengths in ([1], [511], [512, 1], LENGTHS, [700, 3 * MAX_FRAMES * HOP_LENGTH, 2_000]):
        waveform, length = batched(make_waves(lengths), 0.0)
        with torch.no_grad():
            expected = network(waveform, length)
        inputs = {"waveform": waveform.numpy(), "waveform_length": length.numpy()}
        outputs = SIGNATURES["audio_arousal"].outputs
        for name, truth, found in zip(outputs, expected, session.run(None, inputs), strict=True):
            assert found.shape == tuple(truth.shape), name
            np.testing.assert_allclose(found, truth.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)


@torch.no_grad()
def test_the_front_end_is_whispers_but_for_the_level() -> None:
    (wave,) = make_waves([16_000])
    wave = wave * torch.linspace(0.05, 1.0, 16_000).roll(-4_000)  # its loudest place lies inside
    features, frames = LogMel()(wave[None], torch.tensor([16_000]))
    assert frames.tolist() == [101]
    theirs = WhisperFeatureExtractor(feature_size=80)(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    inside = slice(2, 98)  # at the ends Whisper mirrors, or pads to 30 s
    difference = (features[0] - theirs["input_features"][0, :, :101])[:, inside]
    assert features[0, :, inside].std() > 0.1
    assert (difference - difference.mean()).abs().max() < 1e-4


def test_the_first_layers_are_the_pretrained_ones(encoder: Path, network: WhisperArousal) -> None:
    theirs = WhisperEncoder.from_pretrained(encoder).state_dict()
    ours = network.encoder.state_dict()
    assert {name.split(".")[1] for name in ours if name.startswith("layers.")} == {"0", "1"}
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_frozen_encoder_has_no_gradient_and_another_has(encoder: Path) -> None:
    for frozen in (True, False):
        pretrained = AudioEncoderConfig(name=str(encoder), layers=1, frozen=frozen, **SHAPE)
        network = WhisperArousal(AudioConfig(block=BlockConfig(layers=0), head="mean", max_frames=32), pretrained)
        waveform, length = batched(make_waves([4_000]), 0.0)
        network(waveform, length)[0].sum().backward()
        assert (network.encoder.conv1.weight.grad is None) == frozen
        assert network.head.get_submodule("linear").weight.grad is not None


def test_an_audio_encoder_that_cannot_be_had_is_named(tmp_path: Path, encoder: Path) -> None:
    for name, shape in (
        (str(tmp_path / "none"), SHAPE),
        (str(tmp_path), SHAPE),
        (str(encoder), {**SHAPE, "width": 32}),
    ):
        config = AudioEncoderConfig(name=name, layers=1, **shape)
        layers = WhisperArousal(AudioConfig(block=BlockConfig(layers=0), head="mean"), config).encoder
        with pytest.raises(EncoderError, match=name):
            load_pretrained(layers, config)


def test_more_layers_than_the_encoder_has_are_refused(encoder: Path) -> None:
    config = AudioEncoderConfig(name=str(encoder), layers=4, **SHAPE)
    layers = WhisperArousal(AudioConfig(block=BlockConfig(layers=0), head="mean"), config).encoder
    with pytest.raises(EncoderError, match="has 3 layers, not 4"):
        load_pretrained(layers, config)
