"""The heads on frozen encoders learn from the given clips alone; the added classifier adds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import EmotionConfig, load_preset
from training.corpora.labels import MEAN_AROUSAL
from training.data.utterance import Utterance
from training.learning import heads
from training.learning.heads import (
    Clips,
    Transcripts,
    draw_clips,
    embed_clips,
    evened_out,
    expected,
    fit_scale,
    train_arousal,
    train_emotion,
)
from training.metrics import ccc
from training.networks.model import AddedEmotion, EitherEmotion
from training.networks.networks import Networks
from training.networks.pooling import FARTHEST, MeanPool
from training.networks.text_encoder import load_encoder
from training.recipes.smoke import TINY, make_corpus

CLASSES = ("neutral", "sad", "happy", "surprise", "angry")
WIDTH = 64
WHISPER = {"name": "none", "layers": 1, "width": WIDTH, "heads": 4, "feed_forward": 32}


@pytest.fixture(scope="module")
def networks(encoder: Path) -> Networks:
    values = {**TINY, "audio.encoder": WHISPER, "text.encoder": str(encoder), "audio.block.layers": 0}
    networks = Networks(load_preset("starter", values), load_encoder(str(encoder))).eval().requires_grad_(False)
    networks.audio.head.requires_grad_(True)
    networks.emotion.requires_grad_(True)
    return networks


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "STEPS", 200)


@pytest.fixture(scope="module")
def clips() -> Clips:
    """25 clips of each of two speakers, far from zero; each emotion lies in a direction of its own."""
    random = np.random.default_rng(4)
    directions = random.standard_normal((len(CLASSES), WIDTH))
    utterances, means = [], []
    for row in range(50):
        emotion = CLASSES[row % 5]
        utterances.append(
            Utterance(id=f"v{row}", corpus="k", speaker=f"s{row % 2}", emotion=emotion, arousal=MEAN_AROUSAL[emotion])
        )
        means.append(5 + 3 * directions[row % 5] + 0.5 * random.standard_normal((3, WIDTH)))
    return Clips(utterances, torch.from_numpy(np.stack(means)).float())


@pytest.fixture(scope="module")
def transcripts() -> Transcripts:
    """The first token determines the emotion; every sixth transcript has no emotion and no votes."""
    random = np.random.default_rng(5)
    directions = random.standard_normal((len(CLASSES), WIDTH))
    utterances, embeddings = [], []
    for row in range(60):
        emotion = CLASSES[row % 5] if row % 6 else None
        utterances.append(Utterance(id=f"t{row}", corpus="kote", transcript="글", emotion=emotion, votes={}))
        tokens = 0.3 * random.standard_normal((2 + row % 7, WIDTH))
        tokens[0] += 4 * directions[row % 5]
        embeddings.append(torch.from_numpy(tokens).float())
    return Transcripts(utterances, embeddings)


@torch.no_grad()
def logits(networks: Networks, clips: Clips | None, transcripts: Transcripts | None, rows: int) -> torch.Tensor:
    """Logits of the first `rows` clips, of as many transcripts, or of both together."""
    audio, text = torch.zeros(rows, 1, WIDTH), torch.zeros(rows, 9, WIDTH)
    audio_mask, text_mask = torch.zeros(rows, 1, dtype=torch.bool), torch.zeros(rows, 9, dtype=torch.bool)
    if clips is not None:
        audio, audio_mask = clips.means[:rows, :1], torch.ones_like(audio_mask)
    for row in range(rows if transcripts is not None else 0):
        assert transcripts is not None
        tokens = transcripts.embeddings[row]
        text[row, : len(tokens)], text_mask[row, : len(tokens)] = tokens, True
    answer: torch.Tensor = networks.emotion(audio, audio_mask, text, text_mask)
    return answer


def test_arousal_is_learned(networks: Networks, clips: Clips) -> None:
    train_arousal(networks, clips, seed=1)
    with torch.no_grad():
        predicted = networks.audio.head(clips.means[:, :1], torch.ones(50, dtype=torch.long))[:, 0]
    assert ccc(np.array([u.arousal for u in clips.utterances]), predicted.numpy()) > 0.9


def test_emotions_are_learned_from_clips_and_from_transcripts(
    networks: Networks, clips: Clips, transcripts: Transcripts
) -> None:
    train_emotion(networks, clips, transcripts, seed=1)
    assert not networks.emotion.training
    from_audio = logits(networks, clips, None, 50).argmax(dim=1)
    assert (from_audio == torch.arange(50) % 5).float().mean() > 0.9
    from_text = logits(networks, None, transcripts, 60).argmax(dim=1)
    clear = torch.tensor([utterance.emotion is not None for utterance in transcripts.utterances])
    assert (from_text == torch.arange(60) % 5)[clear].float().mean() > 0.9
    both = logits(networks, clips, transcripts, 50).argmax(dim=1)  # rows agree, whatever is neutral
    assert (both == torch.arange(50) % 5)[clear[:50]].float().mean() > 0.9


def test_heads_remember_nothing_of_the_clips_before(networks: Networks, clips: Clips, transcripts: Transcripts) -> None:
    """The same networks serve every fold, and the previous fold learned from the speaker who is left out now."""

    def trained(clips: Clips) -> dict[str, torch.Tensor]:
        train_arousal(networks, clips, seed=1)
        train_emotion(networks, clips, transcripts, seed=1)
        heads = {"arousal": networks.audio.head, "emotion": networks.emotion}
        return {f"{part}.{k}": v.clone() for part, head in heads.items() for k, v in head.state_dict().items()}

    first = trained(clips.without(["s0"]))
    trained(clips.without(["s1"]))
    again = trained(clips.without(["s0"]))
    for name, value in first.items():
        assert torch.equal(value, again[name]), name


def test_a_speaker_is_left_out_whole(clips: Clips) -> None:
    others = clips.without(["s0"])
    assert {utterance.speaker for utterance in others.utterances} == {"s1"}
    assert torch.equal(others.means, clips.means[1::2])


def test_means_are_scaled_and_the_farthest_brought_back(clips: Clips) -> None:
    pool = MeanPool(WIDTH, 5, dropout=0.0).eval()
    fit_scale(pool, clips)
    scaled = (clips.means.flatten(0, 1) - pool.centre) / pool.spread
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(WIDTH), atol=1e-5)
    assert torch.allclose(scaled.std(dim=0), torch.ones(WIDTH), atol=1e-5)
    mean = clips.means[:1, 0]
    with torch.no_grad():
        near = pool.centre + 0.5 * (mean - pool.centre)
        assert torch.allclose(pool.of_mean(near), pool.linear((near - pool.centre) / pool.spread), atol=1e-5)
        x = torch.cat((near - 1, near + 1, torch.zeros_like(near)))[None]  # two frames and padding
        assert torch.allclose(pool(x, torch.tensor([2])), pool.of_mean(near), atol=1e-5)
        far = pool.centre + 100 * (mean - pool.centre)
        direction = (mean - pool.centre) / pool.spread
        direction = direction * FARTHEST / direction.square().mean().sqrt()
        assert torch.allclose(pool.of_mean(far), pool.linear(direction), atol=1e-5)


def test_each_clip_is_embedded_with_its_copies(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "COPIES", 3)
    utterances = make_corpus(tmp_path)[:4]
    found = embed_clips(networks, utterances, seed=1)
    assert found.means.shape == (4, 4, WIDTH)
    assert torch.equal(found.means, embed_clips(networks, utterances, seed=1).means)
    assert not torch.allclose(found.means[:, 0], found.means[:, 1])
    # The clip's own mean is the one that its head would take.
    example = heads.Examples(utterances, None, 64)[2]
    batch = heads.collate([example], CLASSES)
    with torch.no_grad():
        arousal, _, _ = networks.audio(batch.waveform, batch.waveform_length)
        assert torch.allclose(networks.audio.head.of_mean(found.means[2, :1])[:, 0], arousal, atol=1e-4)


def certain(**shares: float) -> torch.Tensor:
    """Logits [1, classes] of these probabilities; the other classes share the rest."""
    rest = (1 - sum(shares.values())) / (len(CLASSES) - len(shares))
    return torch.tensor([[shares.get(name, rest) for name in CLASSES]]).log()


@pytest.mark.parametrize(
    ("audio", "text", "answer"),
    [
        ({"neutral": 0.9}, {"angry": 0.9}, "angry"),
        ({"angry": 0.9}, {"neutral": 0.9}, "angry"),
        ({"sad": 0.9}, {"sad": 0.9}, "sad"),
        ({"neutral": 0.9}, {"neutral": 0.9}, "neutral"),
        ({"neutral": 0.6, "happy": 0.3}, {"happy": 0.6, "neutral": 0.3}, "happy"),
    ],
)
def test_either_modality_may_express_the_emotion(audio: dict[str, float], text: dict[str, float], answer: str) -> None:
    fused = EitherEmotion(EmotionConfig(fusion="either"), WIDTH).fused(certain(**audio), certain(**text))
    assert CLASSES[int(fused.argmax())] == answer


def test_either_modality_alone_answers_by_its_own_head() -> None:
    torch.manual_seed(6)
    emotion = EitherEmotion(EmotionConfig(fusion="either"), WIDTH).eval()
    audio, text = torch.randn(2, 4, WIDTH), torch.randn(2, 3, WIDTH)
    audio_mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    text_mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    audio, text = audio * audio_mask[:, :, None], text * text_mask[:, :, None]
    no_audio, no_text = torch.zeros_like(audio_mask), torch.zeros_like(text_mask)
    with torch.no_grad():
        from_audio, from_text = emotion.audio(audio, audio_mask.sum(dim=1)), emotion.text(text, text_mask.sum(dim=1))
        assert torch.allclose(emotion(audio, audio_mask, text, no_text), from_audio)
        assert torch.allclose(emotion(audio, no_audio, text, text_mask), from_text)
        fused = emotion.fused(from_audio, from_text)
        assert torch.allclose(emotion(audio, audio_mask, text, text_mask), fused)
        assert not emotion(audio, no_audio, text, no_text).any()
        # An absent modality's values count for nothing.
        assert torch.allclose(emotion(audio, audio_mask, 9 * text[:, :1], no_text[:, :1]), from_audio)
        assert torch.allclose(emotion(9 * audio[:, :1], no_audio[:, :1], text, text_mask), from_text)


def test_what_a_person_would_answer() -> None:
    neutral = torch.tensor([name == "neutral" for name in CLASSES])

    def shares(**given: float) -> torch.Tensor:
        return torch.tensor([[given.get(name, 0.0) for name in CLASSES]])

    for audio, text, answer in (
        (shares(neutral=1.0), shares(angry=1.0), shares(angry=1.0)),
        (shares(sad=1.0), shares(neutral=1.0), shares(sad=1.0)),
        (shares(happy=1.0), shares(happy=1.0), shares(happy=1.0)),
        (shares(neutral=1.0), shares(neutral=1.0), shares(neutral=1.0)),
        (shares(happy=1.0), shares(angry=1.0), shares(happy=0.5, angry=0.5)),
        (shares(neutral=1.0), shares(neutral=0.5, sad=0.5), shares(neutral=0.5, sad=0.5)),
    ):
        assert torch.allclose(expected(audio, text, neutral), answer)


def test_corpora_and_their_emotions_are_drawn_equally_often() -> None:
    def utterance(corpus: str, emotion: str | None, votes: dict[str, float] | None = None) -> Utterance:
        return Utterance(id="u", corpus=corpus, transcript="글", emotion=emotion, votes=votes)

    drawn = evened_out(
        [*[utterance("a", "sad")] * 8, utterance("a", "happy"), *[utterance("b", "sad")] * 4, utterance("b", None)]
    )
    assert drawn.sum() == pytest.approx(1.0)
    assert drawn[:8].sum() == pytest.approx(drawn[8]) == pytest.approx(drawn[9:13].sum())
    assert drawn[13] == 0.0  # no label at all
    unclear = evened_out([utterance("a", "sad"), utterance("a", None, {"sad": 0.5, "angry": 0.5})])
    assert unclear[0] == pytest.approx(2 * unclear[1])


def test_clips_without_an_emotion_of_their_own_are_drawn_rarely(clips: Clips) -> None:
    weak = [u.model_copy(update={"emotion": None, "votes": {"neutral": 1.0}}) for u in clips.utterances[:40]]
    mixed = Clips([*weak, *clips.utterances[40:]], clips.means)
    random = np.random.default_rng(1)
    rows = np.concatenate([draw_clips(mixed, random)[0] for _ in range(100)])
    assert np.mean(rows < 40) == pytest.approx(heads.WEAK, abs=0.03)


def test_added_logits() -> None:
    torch.manual_seed(6)
    emotion = AddedEmotion(EmotionConfig(fusion="added"), WIDTH).eval()
    audio, text = torch.randn(2, 4, WIDTH), torch.randn(2, 3, WIDTH)
    audio_mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    text_mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    audio, text = audio * audio_mask[:, :, None], text * text_mask[:, :, None]
    no_audio, no_text = torch.zeros_like(audio_mask), torch.zeros_like(text_mask)
    with torch.no_grad():
        emotion.beside.fill_(0.3)
        from_audio, from_text = emotion.audio(audio, audio_mask.sum(dim=1)), emotion.text(text, text_mask.sum(dim=1))
        assert torch.allclose(emotion(audio, audio_mask, text, no_text), from_audio)
        assert torch.allclose(emotion(audio, no_audio, text, text_mask), from_text)
        assert torch.allclose(emotion(audio, audio_mask, text, text_mask), from_audio + 0.3 * from_text, atol=1e-6)
        assert not emotion(audio, no_audio, text, no_text).any()
        # An absent modality's values count for nothing, and neither does its length.
        assert torch.allclose(emotion(audio, audio_mask, 9 * text[:, :1], no_text[:, :1]), from_audio)
        assert torch.allclose(emotion(9 * audio[:, :1], no_audio[:, :1], text, text_mask), from_text)
