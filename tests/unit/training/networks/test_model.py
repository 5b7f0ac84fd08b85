"""The networks: the published shapes, and the defects of the original that must not come back."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from training.config import BlockConfig, Config, load_preset
from training.features import HOP_LENGTH
from training.networks.model import AudioArousal, Block, Emotion, TextValence, join
from training.networks.pooling import LastState

WIDTH = 64


def small(**overrides: object) -> Config:
    block = {"layers": 2, "heads": 4, "feed_forward": 96, "dropout": 0.5}
    return load_preset(
        "paper",
        {"audio.channels": [2, 2], "audio.block": block, "text.block": block, "emotion.block": block, **overrides},
    )


def encoder(width: int = WIDTH, layers: int = 2, vocabulary: int = 100, heads: int = 4) -> BertModel:
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        attn_implementation="eager",
    )
    return BertModel(config, add_pooling_layer=False)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


@pytest.fixture
def audio() -> AudioArousal:
    return AudioArousal(small().audio).eval()


@pytest.fixture
def text() -> TextValence:
    return TextValence(small().text, encoder()).eval()


@pytest.fixture
def emotion() -> Emotion:
    return Emotion(small().emotion, WIDTH).eval()


@torch.no_grad()
def test_paper_preset_has_the_published_shapes_and_size() -> None:
    config = load_preset("paper")
    kobert = encoder(width=768, layers=12, vocabulary=8002, heads=12)
    audio = AudioArousal(config.audio).eval()
    text = TextValence(config.text, kobert).eval()
    emotion = Emotion(config.emotion, audio.width).eval()
    assert (len(audio.block), len(text.block), len(emotion.block)) == (7, 5, 4)
    assert {layer.attention.heads for block in (audio.block, text.block, emotion.block) for layer in block} == {6}

    samples = 512 * HOP_LENGTH - 1
    arousal, audio_embedding, audio_mask = audio(torch.randn(1, samples) * 0.1, torch.tensor([samples]))
    valence, text_embedding = text(torch.full((1, 64), 7), torch.ones(1, 64, dtype=torch.long))
    text_mask = torch.ones(1, 64, dtype=torch.bool)
    joined, length = join(audio_embedding, audio_mask, text_embedding, text_mask)
    assert arousal.shape == valence.shape == (1,)
    assert audio_embedding.shape == (1, 512, 768)
    assert text_embedding.shape == (1, 64, 768)
    assert joined.shape == (1, 576, 768)
    assert length.tolist() == [576]
    assert emotion(audio_embedding, audio_mask, text_embedding, text_mask).shape == (1, 5)

    parameters = sum(p.numel() for network in (audio, text, emotion) for p in network.parameters())
    pooler = 768 * 768 + 768  # the original loads it and never uses it
    assert parameters + pooler == pytest.approx(169e6, rel=0.01)


@torch.no_grad()
def test_audio_answer_does_not_depend_on_padding_or_neighbours(audio: AudioArousal) -> None:
    waves = torch.randn(3, 30_000) * torch.tensor([[0.01], [0.1], [0.9]])
    lengths = torch.tensor([9_000, 700, 30_000])
    arousal, embedding, mask = audio(waves, lengths)
    assert mask.sum(dim=1).tolist() == [18, 2, 59]
    for row, length in enumerate(lengths.tolist()):
        alone, single, own = audio(waves[row : row + 1, :length], lengths[row : row + 1])
        frames = int(own.sum())
        assert torch.allclose(arousal[row], alone[0], atol=1e-5)
        assert torch.allclose(embedding[row, :frames], single[0, :frames], atol=1e-4)
        assert not embedding[row, frames:].any()


@torch.no_grad()
def test_audio_past_the_longest_utterance_is_cut() -> None:
    audio = AudioArousal(small(**{"audio.max_frames": 20}).audio).eval()
    arousal, embedding, mask = audio(torch.randn(1, 40_000), torch.tensor([40_000]))
    assert embedding.shape[1] == 20
    assert mask.all()
    assert arousal.isfinite().all()


@torch.no_grad()
def test_text_answer_does_not_depend_on_padding_or_neighbours(text: TextValence) -> None:
    ids = torch.randint(100, (3, 12))
    mask = torch.tensor([[1] * 12, [1] * 3 + [0] * 9, [1] + [0] * 11])
    valence, embedding = text(ids, mask)
    for row, tokens in enumerate(mask.sum(dim=1).tolist()):
        alone, single = text(ids[row : row + 1, :tokens], mask[row : row + 1, :tokens])
        assert torch.allclose(valence[row], alone[0], atol=1e-5)
        assert torch.allclose(embedding[row, :tokens], single[0], atol=1e-5)


@torch.no_grad()
def test_emotion_reads_what_is_real_and_nothing_else(emotion: Emotion) -> None:
    audio, text = torch.randn(4, 9, WIDTH), torch.randn(4, 5, WIDTH)
    audio_mask = torch.arange(9)[None] < torch.tensor([9, 4, 0, 3])[:, None]
    text_mask = torch.arange(5)[None] < torch.tensor([5, 2, 3, 0])[:, None]
    together = emotion(audio, audio_mask, text, text_mask)
    for row in range(4):
        frames, tokens = int(audio_mask[row].sum()), int(text_mask[row].sum())
        one = slice(row, row + 1)
        alone = emotion(
            audio[one, : max(frames, 1)],
            audio_mask[one, : max(frames, 1)],
            text[one, : max(tokens, 1)],
            text_mask[one, : max(tokens, 1)],
        )
        assert torch.allclose(together[row], alone[0], atol=1e-5)
    assert not torch.allclose(together[0], emotion(audio, audio_mask, text, text_mask & False)[0], atol=1e-3)


def test_join_puts_the_text_right_after_the_audio() -> None:
    audio = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])[:, :, None]
    text = torch.tensor([[7.0, 8.0], [7.0, 0.0], [7.0, 8.0]])[:, :, None]
    joined, length = join(audio, audio[..., 0] > 0, text, text[..., 0] > 0)
    assert length.tolist() == [4, 2, 2]
    real = [row[:count, 0].tolist() for row, count in zip(joined, length.tolist(), strict=True)]
    assert real == [[1, 2, 7, 8], [1, 7], [7, 8]]


@torch.no_grad()
def test_the_same_clip_gets_the_same_answer(audio: AudioArousal, text: TextValence) -> None:
    wave, ids = torch.randn(1, 8000), torch.randint(100, (1, 6))
    assert torch.equal(audio(wave, torch.tensor([8000]))[0], audio(wave, torch.tensor([8000]))[0])
    mask = torch.ones_like(ids)
    assert torch.equal(text(ids, mask)[0], text(ids, mask)[0])


def test_a_frozen_encoder_learns_nothing_and_drops_nothing_out() -> None:
    frozen = TextValence(small().text, encoder()).train()
    frozen(torch.randint(100, (2, 5)), torch.ones(2, 5, dtype=torch.long))[0].sum().backward()
    assert all(p.grad is None for p in frozen.encoder.parameters())
    assert not frozen.encoder.training
    tuned = TextValence(small(**{"text.frozen": False}).text, encoder()).train()
    tuned(torch.randint(100, (2, 5)), torch.ones(2, 5, dtype=torch.long))[0].sum().backward()
    assert tuned.encoder.embeddings.word_embeddings.weight.grad is not None
    assert tuned.encoder.training


def test_dropout_is_where_it_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the attention weights, inside the feed forward, on both residuals of a layer, between recurrent layers."""
    seen: list[tuple[int, ...]] = []
    dropout = nn.functional.dropout

    def recorded(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if training and p == 0.1:
            seen.append(tuple(x.shape))
        return dropout(x, p, training, inplace)

    monkeypatch.setattr(nn.functional, "dropout", recorded)
    config = load_preset("paper")
    layer = Block(12, BlockConfig(layers=1, heads=3, feed_forward=20))
    x, mask = torch.randn(2, 5, 12), torch.ones(2, 5, dtype=torch.bool)
    layer.train()(x, mask)
    assert sorted(seen) == sorted([(2, 3, 5, 5), (2, 5, 20), (2, 5, 12), (2, 5, 12)])
    seen.clear()
    layer.eval()(x, mask)
    assert seen == []
    for head in (AudioArousal(config.audio).head, Emotion(config.emotion, 12).head):
        assert isinstance(head, LastState) and head.recurrent.dropout == 0.1
