"""The import of the published checkpoints, on small ones with the same names, against their code written out again."""

import argparse
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from app.engine.engine import ModelInput
from app.engine.load import Model, load_model
from app.pipeline import predict
from app.settings import Settings
from app.web.api import create_app
from training.config import AudioConfig, BlockConfig, Config, EmotionConfig, TextConfig
from training.export.version import Release
from training.networks.networks import Networks
from training.networks.text_encoder import EncoderError
from training.recipes.import_original import ABOUT, add_arguments, import_original, run
from training.recipes.original_weights import CheckpointError, build_networks, read_checkpoints

WIDTH, FEED_FORWARD, RECURRENT = 96, 32, 8
FRAMES, TOKENS = 512, 64
LAYERS = {"AudioModel.AEBlock1.AE1": 2, "TextModel.TEBlock1.TE1": 1, "MBA.MB": 1}
SYLLABLES = [chr(code) for code in range(ord("가"), ord("힣") + 1)]
ENCODER = BertConfig(
    vocab_size=5 + len(SYLLABLES),
    hidden_size=WIDTH,
    num_hidden_layers=1,
    intermediate_size=FEED_FORWARD,
    pad_token_id=1,
)
CONFIG = Config(
    preset="original",
    semantics="original",
    audio=AudioConfig(
        channels=(4, 3), block=BlockConfig(layers=2, heads=4, feed_forward=FEED_FORWARD), recurrent=RECURRENT
    ),
    text=TextConfig(block=BlockConfig(layers=1, feed_forward=FEED_FORWARD), recurrent=RECURRENT),
    emotion=EmotionConfig(block=BlockConfig(layers=1, feed_forward=FEED_FORWARD), recurrent=RECURRENT),
)
RELEASE = Release("original", "1.0.0", "LicenseRef-unstated", ABOUT.format(heads=4, meaning=""))

State = dict[str, Tensor]


def _state() -> State:
    """A small classifier's state dict: the published names, any weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "AudioModel.Extractor.conv1.weight": (4, 2, 1, 4),
        "AudioModel.Extractor.conv2.weight": (4, 4, 1, 7),
        "AudioModel.Extractor.conv3.weight": (3, 4, 1, 4),
        "AudioModel.Extractor.conv4.weight": (3, 3, 1, 7),
        "AudioModel.fc.weight": (1, RECURRENT),
        "AudioModel.fc.bias": (1,),
        "TextModel.fc.weight": (1, RECURRENT),
        "TextModel.fc.bias": (1,),
        "fc.weight": (5, RECURRENT),
        "fc.bias": (5,),
    }
    for block, layers in LAYERS.items():
        for layer in range(layers):
            for name in ("Q_fc", "K_fc", "V_fc", "Out_fc"):
                shapes[f"{block}.{layer}.MHA.{name}.weight"] = (WIDTH, WIDTH)
            for name in ("layerNorm1", "layerNorm2"):
                shapes |= {f"{block}.{layer}.{name}.{part}": (WIDTH,) for part in ("weight", "bias")}
            shapes |= {
                f"{block}.{layer}.ffn.fc1.weight": (FEED_FORWARD, WIDTH),
                f"{block}.{layer}.ffn.fc1.bias": (FEED_FORWARD,),
                f"{block}.{layer}.ffn.fc2.weight": (WIDTH, FEED_FORWARD),
                f"{block}.{layer}.ffn.fc2.bias": (WIDTH,),
            }
    for name, gates in (("AudioModel.gru", 3), ("TextModel.gru", 3), ("LSTM", 4)):
        for layer, width in enumerate((WIDTH, RECURRENT)):
            shapes[f"{name}.weight_ih_l{layer}"] = (gates * RECURRENT, width)
            shapes[f"{name}.weight_hh_l{layer}"] = (gates * RECURRENT, RECURRENT)
    shapes |= {
        f"TextModel.kobert.{name}": tuple(value.shape) for name, value in BertModel(ENCODER).state_dict().items()
    }

    random = torch.Generator().manual_seed(3)
    state: State = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=random)
        norm = "norm" in name.lower() and name.endswith("weight")
        state[name] = (
            1 + 0.1 * values if norm else values / values[0].numel() ** 0.5 if len(shape) > 1 else 0.1 * values
        )
    state["TextModel.kobert.embeddings.position_ids"] = torch.arange(512)[None]
    return state


class Original:
    """The published forward pass, as its code has it: [batch, 512] frames and [batch, 64] tokens, whatever is real."""

    def __init__(self, state: State) -> None:
        self.state = state

    def __call__(self, features: Tensor, ids: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features [batch, 2, 512, 128], ids and read [batch, 64] to arousal, valence and logits."""
        x = features
        for number, (stride, padding) in enumerate([(2, 1), (1, 3), (2, 1), (1, 3)], start=1):
            weight = self.state[f"AudioModel.Extractor.conv{number}.weight"]
            x = F.conv2d(x if number == 1 else F.relu(x), weight, stride=(1, stride), padding=(0, padding))
        x = x.permute(0, 2, 1, 3).flatten(2)
        audio = self._block(x, "AudioModel.AEBlock1.AE1", 4, (x != 0).all(dim=2))
        kobert = BertModel(ENCODER, add_pooling_layer=False).eval()
        prefix = "TextModel.kobert."
        weights = {k.removeprefix(prefix): v for k, v in self.state.items() if k.startswith(prefix)}
        kobert.load_state_dict({name: weights[name] for name in kobert.state_dict()})
        hidden = kobert(ids, attention_mask=read.long()).last_hidden_state
        text = self._block(hidden, "TextModel.TEBlock1.TE1", 6, torch.ones_like(read))
        mask = torch.cat(((features[:, 0] != 0).all(dim=2), read), dim=1)
        joined = self._block(torch.cat((audio, text), dim=1), "MBA.MB", 6, mask)
        arousal = self._last(audio, "AudioModel.gru", "AudioModel.fc", nn.GRU)
        valence = self._last(text, "TextModel.gru", "TextModel.fc", nn.GRU)
        return arousal[:, 0], valence[:, 0], self._last(joined, "LSTM", "fc", nn.LSTM)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def _block(self, x: Tensor, name: str, heads: int, mask: Tensor) -> Tensor:
        for layer in range(LAYERS[name]):
            own = f"{name}.{layer}"
            query, key, value = (
                self._linear(x, f"{own}.MHA.{part}_fc").unflatten(2, (heads, -1)).transpose(1, 2) for part in "QKV"
            )
            scores = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).masked_fill(~mask[:, None, None], -1e9)
            mixed = (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2)
            x = self._norm(x + self._linear(mixed, f"{own}.MHA.Out_fc"), f"{own}.layerNorm1")
            fed = x + self._linear(F.relu(self._linear(x, f"{own}.ffn.fc1")), f"{own}.ffn.fc2")
            x = self._norm(x + fed, f"{own}.layerNorm2")
        return x

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _last(self, x: Tensor, name: str, linear: str, kind: type[nn.GRU | nn.LSTM]) -> Tensor:
        recurrent = kind(WIDTH, RECURRENT, 2, bias=False, batch_first=True)
        recurrent.load_state_dict({k.removeprefix(f"{name}."): v for k, v in self.state.items() if k.startswith(name)})
        return self._linear(recurrent(x)[0][:, -1], linear)


@pytest.fixture(scope="module")
def state() -> State:
    return _state()


@pytest.fixture(scope="module")
def networks(state: State) -> Networks:
    return build_networks(state, CONFIG, ENCODER)


def _save(folder: Path, state: State) -> dict[str, Path]:
    """The three files as the authors have them."""
    files = {role: folder / f"{role}.pt" for role in ("audio", "text", "classifier")}
    torch.save(state, files["classifier"])
    for role, prefix in (("audio", "AudioModel."), ("text", "TextModel.")):
        part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        torch.save(part, files[role])
    return files


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of syllables, ids as KoBERT's begin."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *SYLLABLES]
    syllables = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    syllables.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    syllables.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    syllables.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def version(state: State, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imported version, its graphs proven by the export itself."""
    files = _save(tmp_path_factory.mktemp("files"), state)
    store = tmp_path_factory.mktemp("store")
    return import_original(files, str(tokenizer), store, RELEASE, ["fp32"], CONFIG, ENCODER)


@pytest.fixture(scope="module")
def served(version: Path) -> tuple[Model, Settings]:
    settings = Settings(model_store=version.parents[1], model="original", threads=1, decoders=1)
    return load_model(settings), settings


def _example(networks: Networks, seconds: float = 2.0, tokens: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """waveform, its features as the original made them, ids and read as the original padded them."""
    random = torch.Generator().manual_seed(5)
    swell = 0.5 + 0.4 * torch.sin(torch.linspace(0, 9, int(seconds * 16000)))
    waveform = (torch.randn(1, len(swell), generator=random) * 0.1) * swell
    features, _ = networks.audio.features(waveform, torch.tensor([waveform.shape[1]]))
    features = F.pad(features, (0, 0, 0, FRAMES))[:, :, :FRAMES]
    read = torch.arange(TOKENS)[None, :] < tokens
    ids = torch.where(read, torch.randint(5, 900, (1, TOKENS), generator=random), 1)
    return waveform, features, ids, read


def _ours(networks: Networks, waveform: Tensor, ids: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    arousal, audio, audio_mask = networks.audio(waveform, torch.tensor([waveform.shape[1]]))
    valence, text = networks.text(ids, read.long())
    return arousal, valence, networks.emotion(audio, audio_mask, text, read)


@torch.no_grad()
@pytest.mark.parametrize(("seconds", "tokens"), [(2.0, 9), (0.5, 64), (20.0, 2)])
def test_it_computes_the_same_as_the_original(networks: Networks, state: State, seconds: float, tokens: int) -> None:
    waveform, features, ids, read = _example(networks, seconds, tokens)
    expected = Original(state)(features, ids, read)
    # As in serving: the tokens without their padding.
    found = _ours(networks, waveform, ids[:, :tokens], read[:, :tokens])
    for value, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(value, truth, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_loudest_moment_counts_beyond_the_part_that_is_used(networks: Networks) -> None:
    waveform, _, ids, read = _example(networks, seconds=20.0)
    louder = waveform.clone()
    louder[:, 300_000:] *= 20
    quiet, loud = (_ours(networks, wave, ids, read)[0] for wave in (waveform, louder))
    assert abs(float(quiet - loud)) > 1e-4


def test_the_manifest_and_the_card_say_what_it_is(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["semantics"] == "original"
    assert manifest["audio"]["whole_clip"] is True
    assert set(manifest["training"]["imported_sha256"]) == {"classifier", "audio", "text"}
    assert "learning_rate" not in manifest["training"]
    assert max(manifest["drift"]["fp32"].values()) <= 1e-4
    assert "defects included" in (version / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert [path.name for path in version.parents[1].iterdir()] == ["original"]


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_the_service_answers_with_it(
    served: tuple[Model, Settings],
    networks: Networks,
    seconds: float,
    make_speech: Callable[..., NDArray[np.float32]],
    make_file: Callable[..., bytes],
) -> None:
    model, settings = served
    # The loudest moment of the long clip lies behind the part that is used, and must still set its level.
    samples = make_speech(seconds) * np.linspace(0.05, 1, int(seconds * 16000), dtype=np.float32)
    file, transcript = make_file(samples, encoding="FLOAT"), "정말 고마워요"
    with TestClient(create_app(settings, model)) as client:
        answer = client.post("/predict", files={"audio": io.BytesIO(file)}, data={"transcript": transcript}).json()
    ids = torch.from_numpy(model.tokenizer.encode(transcript).ids)[None]
    with torch.no_grad():
        arousal, valence, logits = _ours(networks, torch.from_numpy(samples)[None], ids, ids > -1)
    assert answer["arousal"] == pytest.approx(float(arousal.clamp(1, 5)), abs=2e-4)
    assert answer["valence"] == pytest.approx(float(valence.clamp(1, 5)), abs=2e-4)
    probabilities = list(answer["emotion"]["probabilities"].values())
    assert probabilities == pytest.approx(logits.softmax(dim=1)[0].tolist(), abs=2e-4)
    assert [warning["code"] for warning in answer["warnings"]] == (["audio_truncated"] if seconds > 16 else [])
    assert answer["modalities"] == ["audio", "text"]


def test_audio_alone_and_text_alone_are_answered_too(served: tuple[Model, Settings], wav: bytes) -> None:
    from_audio, from_text = predict(*served, io.BytesIO(wav), None), predict(*served, None, "정말")
    assert from_audio.valence is None and from_text.arousal is None
    assert from_audio.emotion.probabilities != from_text.emotion.probabilities


def test_a_short_utterance_takes_up_as_much_of_a_batch_as_a_long_one(served: tuple[Model, Settings]) -> None:
    model, _ = served
    for seconds, frames in ((1, FRAMES), (16, FRAMES), (60, 1 + 60 * 16000 // 512)):
        utterance = ModelInput(np.zeros(seconds * 16000, dtype=np.float32), None)
        assert utterance.positions(model.manifest) == frames + TOKENS


def _without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


LAST = "MBA.MB.0.ffn.fc2.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _without(s, LAST), f"lacks {LAST}"),
        (
            lambda s: _without(s, "AudioModel.AEBlock1.AE1.1.MHA.K_fc.weight"),
            r"lacks AudioModel\.AEBlock1\.AE1\.1\.MHA",
        ),
        (lambda s: s | {LAST: torch.zeros(7)}, rf"{LAST} is \[7\] torch.float32, not \[96\]"),
        (lambda s: s | {LAST: torch.zeros(WIDTH, dtype=torch.int64)}, f"{LAST} is .* torch.int64"),
        (lambda s: s | {LAST: torch.full((WIDTH,), torch.nan)}, f"{LAST} has values that are not finite"),
        (lambda s: s | {"MBA.MB.1.ffn.fc2.bias": torch.zeros(WIDTH)}, r"has MBA\.MB\.1\.ffn\.fc2\.bias, which"),
    ],
)
def test_weights_that_do_not_fit_are_named(state: State, change: Callable[[State], State], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_networks(change(state), CONFIG, ENCODER)


def test_a_part_of_another_training_is_named(state: State, tmp_path: Path) -> None:
    files = _save(tmp_path, state)
    assert read_checkpoints(files).keys() == state.keys()
    torch.save({"gru.weight_ih_l0": torch.zeros(3)}, files["audio"])
    with pytest.raises(CheckpointError, match=r"audio\.pt lacks AEBlock1\.AE1\.0"):
        read_checkpoints(files)
    text = torch.load(files["text"], weights_only=True)
    torch.save(text | {"fc.bias": text["fc.bias"] + 1}, files["text"])
    with pytest.raises(CheckpointError, match=r"text\.pt: fc\.bias differs from the classifier's copy"):
        read_checkpoints({"classifier": files["classifier"], "text": files["text"]})
    assert read_checkpoints({"classifier": files["classifier"]}).keys() == state.keys()


class _Code:
    """Runs when it is unpickled, if anybody lets it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.mkdir, (Path("ran"),)  # type: ignore[return-value]


def test_a_file_that_is_no_state_dict_is_refused(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = _save(tmp_path, {LAST: state[LAST]})["classifier"].read_bytes()
    torch.save({"model": _Code()}, "code.pt")
    torch.save({"model": state}, "nested.pt")
    torch.save([1, 2], "list.pt")
    Path("truncated.pt").write_bytes(whole[: len(whole) // 2])
    Path("pickle.pt").write_bytes(pickle.dumps(_Code()))
    Path("text.pt").write_text("Not Found")
    Path("empty.pt").write_bytes(b"")
    middle = whole.index(b"data.pkl") + 64
    Path("damaged.pt").write_bytes(whole[:middle] + b"\xff" * 24 + whole[middle + 24 :])
    for name, message in {
        "none.pt": "is not there",
        "code.pt": "code in a checkpoint is never run",
        "nested.pt": "is no state dict",
        "list.pt": "is no state dict",
        "truncated.pt": "an incomplete one",
        "pickle.pt": "is no PyTorch checkpoint",
        "text.pt": "is no PyTorch checkpoint",
        "empty.pt": "is no PyTorch checkpoint",
        "damaged.pt": "is damaged in",
    }.items():
        with pytest.raises(CheckpointError, match=rf"^{name} .*({message})"):
            read_checkpoints({"classifier": Path(name)})
    assert not Path("ran").exists()


def test_the_command_says_what_is_wrong_and_leaves_nothing(tokenizer: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    store = tmp_path / "store"
    args = parser.parse_args(["--classifier", str(tmp_path / "c.pt"), "--name", "original", "--store", str(store)])
    args.text_encoder = str(tmp_path)
    with pytest.raises(EncoderError, match="needs a tokenizer"):
        run(args)
    args.text_encoder = str(tokenizer)
    with pytest.raises(CheckpointError, match=r"c\.pt is not there"):
        run(args)
    assert list(store.iterdir()) == []
