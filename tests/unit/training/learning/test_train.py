"""The loop learns, keeps its best, repeats itself from its seed and stops at a loss that is no number."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from app.text import TextTokenizer
from training.config import AudioEncoderConfig, ConfigError, EmotionStageConfig, Stage, load_preset
from training.data.augment import Band, mask_frequencies
from training.data.batches import collate
from training.data.examples import DataError, Example, Examples, TrainingExamples
from training.data.utterance import Utterance
from training.features import delta
from training.learning import train as training_loop
from training.learning.loss import Learner, class_weights, drop_modalities, regression_loss
from training.learning.predict import Predictions, predict
from training.learning.resume import Checkpoint, Log
from training.learning.run import train
from training.learning.train import learning_rate_factor, train_stage, validate
from training.networks.files import RunError, load_networks, save_config
from training.networks.networks import Networks, Outputs
from training.networks.text_encoder import TOKENIZER_FILE, EncoderError, load_encoder
from training.networks.whisper import WhisperLayers, whisper_config
from training.recipes.smoke import TINY, TRANSCRIPTS

CPU = Accelerator(cpu=True)


@pytest.fixture
def make_networks(encoder: Path, tmp_path: Path) -> Callable[..., Networks]:
    def make(**overrides: object) -> Networks:
        values = {**TINY, "text.encoder": str(encoder), **overrides}
        networks = Networks(load_preset("starter", values), load_encoder(str(encoder)))
        save_config(tmp_path, networks)
        shutil.copyfile(encoder / TOKENIZER_FILE, tmp_path / TOKENIZER_FILE)
        return networks

    return make


@pytest.mark.parametrize("stage", ["audio", "text"])
def test_a_stage_learns_the_tiny_corpus(
    stage: Stage, make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    overrides = {"epochs": 12, "patience": 12, "limit": 8, "batch_size": 4, "decay": 1.0, "learning_rate": 3e-3}
    networks = make_networks(**{f"train.{stage}.{key}": value for key, value in overrides.items()})
    score = train_stage(stage, networks, corpus, tmp_path, CPU)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (
        min(line["loss"] for line in lines) < 0.6 * lines[0]["loss"]
    )  # by CCC over four utterances it goes up and down
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert score == pytest.approx(max(line["score"] for line in lines), abs=1e-5)
    assert score > 0.5


def test_the_best_weights_are_kept(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    networks = make_networks()
    for stage in ("audio", "text", "emotion"):
        train_stage(stage, networks, corpus, tmp_path, CPU)
    again = load_networks(tmp_path)
    for name, value in networks.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_seed_repeats_itself(make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path) -> None:
    first, second = make_networks(), make_networks()
    for networks in (first, second):
        train_stage("audio", networks, corpus, tmp_path, CPU)
    for one, other in zip(first.audio.parameters(), second.audio.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_emotion_stage_leaves_the_regressors_alone(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    networks = make_networks()
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    train_stage("emotion", networks, corpus, tmp_path, CPU)
    changed = {
        name.split(".")[0] for name, value in networks.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"emotion"}


def test_a_loss_that_is_no_number_names_the_batch(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    networks = make_networks()
    torch.nn.init.constant_(networks.audio.block[0].fc1.weight, float("nan"))
    with pytest.raises(DataError, match=r"nan in the batch of \w+_\d"):
        train_stage("audio", networks, corpus, tmp_path, CPU)


def test_nothing_to_learn_is_an_error(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="Stage audio: 0 utterances"):
        train_stage("audio", make_networks(), [u.model_copy(update={"arousal": None}) for u in corpus], tmp_path, CPU)


def tagged_only(corpus: list[Utterance]) -> list[Utterance]:
    """The corpus without audio; its training part has tags in place of valence."""
    return [
        u.model_copy(update={"audio": None, "tags": (f"{u.emotion}!", "any"), "valence": None})
        if u.split == "train"
        else u.model_copy(update={"audio": None})
        for u in corpus
    ]


def test_text_is_learned_from_tags_alone(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    values = {"epochs": 6, "patience": 6, "limit": 8, "batch_size": 4, "decay": 1.0, "learning_rate": 1e-2}
    networks = make_networks(**{f"train.text.{key}": value for key, value in values.items()})
    train_stage("text", networks, tagged_only(corpus), tmp_path, CPU)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(losses))
    assert losses[-1] < 0.85 * losses[0]  # transcripts are respelled, each time in another way
    assert not any("tag" in name for name in load_file(tmp_path / "text.safetensors"))


def test_without_a_weight_tags_are_nothing_to_learn_from(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    networks = make_networks(**{"train.text.tags_weight": 0.0, "train.text.emotion_weight": 0.0})
    with pytest.raises(DataError, match="Stage text: 0 utterances"):
        train_stage("text", networks, tagged_only(corpus), tmp_path, CPU)


def test_the_tags_are_named_by_a_head_that_learns_too(
    make_networks: Callable[..., Networks], corpus: list[Utterance]
) -> None:
    learner = Learner("text", make_networks(), tagged_only(corpus))
    assert learner.tag_names == ["angry!", "any", "happy!", "neutral!", "sad!", "surprise!"]
    assert learner.tag_head is not None
    learned = {id(parameter) for group in learner.parameter_groups() for parameter in group["params"]}
    assert {id(parameter) for parameter in learner.tag_head.parameters()} <= learned
    assert Learner("text", make_networks(), corpus).tag_head is None
    assert Learner("emotion", make_networks(), tagged_only(corpus)).tag_head is None


def test_a_run_without_weights_names_the_command(make_networks: Callable[..., Networks], tmp_path: Path) -> None:
    make_networks()
    with pytest.raises(RunError, match="maeum-train train audio"):
        load_networks(tmp_path)


def test_an_encoder_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="neither a folder nor a valid name"):
        load_encoder(str(tmp_path / "none"))


def test_losses() -> None:
    truth = torch.tensor([1.0, 2.0, 4.0])
    assert regression_loss("rmse", truth + 0.5, truth).item() == pytest.approx(0.5, abs=1e-4)
    assert regression_loss("ccc", truth, truth).item() == pytest.approx(0, abs=1e-6)
    flat = torch.full((3,), float(truth.mean()), requires_grad=True)
    loss = regression_loss("ccc", flat, truth)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-6)
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_class_weights_balance_the_classes_that_occur() -> None:
    learning = [Utterance(id=str(i), corpus="c", emotion=e) for i, e in enumerate(["sad"] * 3 + ["happy"])]
    weights = class_weights(learning, ("neutral", "sad", "happy"))
    assert weights.tolist() == pytest.approx([0, 4 / 6, 2])


def test_class_weights_count_copies_and_share_ties() -> None:
    tie = Utterance(id="t", corpus="c", votes={"sad": 0.5, "happy": 0.5})
    learning = [*(Utterance(id=str(i), corpus="c", emotion="sad") for i in range(3)), tie]
    assert class_weights(learning, ("sad", "happy")).tolist() == pytest.approx([4 / 3.5 / 2, 4 / 0.5 / 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_a_smoothed_weighted_loss_is_least_for_the_true_class(
    smoothing: float, make_networks: Callable[..., Networks], corpus: list[Utterance]
) -> None:
    """A label that is certain stays the best answer, however rare the other classes are."""
    networks = make_networks(**{"train.emotion.class_weights": True, "train.emotion.label_smoothing": smoothing})
    learner = Learner("emotion", networks, [*[corpus[0]] * 200, *corpus])
    batch = collate([Example(corpus[0], np.zeros(0, np.float32), np.zeros(0, np.int64))], tuple(TRANSCRIPTS))
    logits = torch.zeros(1, len(TRANSCRIPTS), requires_grad=True)
    optimiser = torch.optim.Adam([logits], 0.1)
    networks.classify = lambda outputs: logits  # type: ignore[method-assign]
    for _ in range(300):
        optimiser.zero_grad()
        learner._emotion_loss(batch).backward()
        optimiser.step()
    best = logits.softmax(dim=1)[0].tolist()
    assert best.index(max(best)) == 0
    assert best[1:] == pytest.approx([best[1]] * 4, abs=0.01)  # smoothing has no favourites


@pytest.mark.parametrize(("choose_by", "best"), [("loss", 3), ("score", 2)])
def test_the_best_epoch_is_that_of_the_criterion(
    choose_by: str,
    best: int,
    make_networks: Callable[..., Networks],
    corpus: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where most utterances are neutral, UAR stays the same while the loss falls."""
    found = iter([(0.2, 1.47), (0.4, 1.6), (0.4, 0.9), (0.4, 1.0)])
    if choose_by == "score":
        found = iter([(0.2, 1.47), (0.4, 0.9), (0.4, 1.1), (0.3, 0.4)])

    def validate(*_: object) -> dict[str, float]:
        score, loss = next(found)
        return {"score": score, "validation_loss": loss}

    monkeypatch.setattr(training_loop, "validate", validate)
    kept: list[int] = []
    epochs: list[int] = []
    save_stage = training_loop.save_stage
    monkeypatch.setattr(training_loop, "save_stage", lambda *given: (kept.append(len(epochs)), save_stage(*given)))
    monkeypatch.setattr(Log, "epoch", lambda self, values: epochs.append(values["epoch"]))
    values = {"train.emotion.epochs": 4, "train.emotion.limit": 1, "train.emotion.choose_by": choose_by}
    train_stage("emotion", make_networks(**values), corpus, tmp_path, CPU)
    assert kept[-1] + 1 == best


def test_validation_gives_the_loss_of_everything_at_once(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    networks = make_networks()
    tokenizer = TextTokenizer(tmp_path / TOKENIZER_FILE, 64)
    examples = Examples([u for u in corpus if u.split == "validation"], tokenizer, 64)
    outputs = networks.eval().embed(collate([examples[i] for i in range(len(examples))], tuple(TRANSCRIPTS)))
    scores = validate("audio", networks, examples, CPU)
    truth = torch.tensor([u.arousal for u in examples.utterances])
    assert scores["validation_loss"] == pytest.approx(regression_loss("rmse", outputs.arousal, truth).item(), abs=1e-4)
    classified = validate("emotion", networks, examples, CPU)
    labels = torch.tensor([tuple(TRANSCRIPTS).index(str(u.emotion)) for u in examples.utterances])
    expected = torch.nn.functional.cross_entropy(networks.classify(outputs), labels).item()
    assert classified["validation_loss"] == pytest.approx(expected, abs=1e-4)


def test_of_more_processes_than_batches_some_predict_nothing(
    make_networks: Callable[..., Networks], corpus: list[Utterance]
) -> None:
    networks = make_networks()
    nothing = predict(networks, Examples(corpus, None, 64), [], "audio", CPU.device)
    something = predict(networks, Examples(corpus, None, 64), [[0, 1]], "audio", CPU.device)
    joined = Predictions.joined([nothing, something, nothing])
    assert joined.ids.tolist() == [corpus[0].id, corpus[1].id]
    assert joined.shares.shape == (2, len(TRANSCRIPTS))


def test_a_gradient_scaler_is_resumed(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    optimiser = torch.optim.Adam(module.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    Checkpoint(tmp_path, "audio", module, optimiser, scaler).save()
    again = torch.amp.GradScaler("cpu")
    Checkpoint(tmp_path, "audio", module, optimiser, again).load()
    assert again.get_scale() == 8.0


def test_parts_of_a_batch_are_refused_where_the_loss_is_of_the_whole() -> None:
    for stage in ("audio", "text"):
        with pytest.raises(ConfigError, match=f"{stage}.accumulate: RMSE and CCC"):
            load_preset("paper", {f"train.{stage}.accumulate": 2})


def test_dropping_a_modality_never_leaves_nothing() -> None:
    torch.manual_seed(0)
    rows = 400
    outputs = Outputs(
        *(torch.zeros(rows) for _ in range(2)),
        audio_embedding=torch.zeros(rows, 2, 4),
        audio_mask=torch.ones(rows, 2, dtype=torch.bool),
        text_embedding=torch.zeros(rows, 3, 4),
        text_mask=torch.arange(rows)[:, None].expand(-1, 3) % 2 == 0,  # every other row has text
    )
    drop_modalities(outputs, EmotionStageConfig(drop_audio=0.4, drop_text=0.4))
    has_audio, has_text = outputs.audio_mask.any(dim=1), outputs.text_mask.any(dim=1)
    assert (has_audio | has_text).all()
    assert has_audio[1::2].all()
    assert 0.25 < (~has_audio[::2]).float().mean() < 0.55
    assert 0.25 < (~has_text[::2]).float().mean() < 0.55


def test_frequency_masking_fills_one_band_and_takes_the_difference_anew() -> None:
    frames = torch.tensor([20, 12])
    log_mel = torch.full((2, 20, 128), -40.0)
    features = torch.stack((log_mel, torch.zeros_like(log_mel)), dim=1)
    noise = np.random.default_rng(0).uniform(-70, -50, size=(12, 15)).astype(np.float32)
    masked = mask_frequencies(features, frames, [None, Band(30, noise)])
    assert torch.equal(masked[0], features[0])
    assert torch.equal(masked[1, 0, :12, 30:45], torch.from_numpy(noise))
    changed = masked[1, 0] != -40
    changed[:12, 30:45] = False
    assert not changed.any()
    assert torch.equal(masked[1:, 1, :12], delta(masked[1:, 0], frames[1:])[:, :12])
    assert not masked[1, 1, 12:].any()


def test_the_classifier_learns_from_masked_frequencies(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    """Its copies called `mask` are no plain duplicates: their embeddings differ from the originals'."""
    networks = make_networks(**{"train.augment.mode": "copies"}).eval()
    examples = TrainingExamples(
        [u for u in corpus if u.emotion == "sad"], None, 64, networks.config.train.augment, seed=1
    )
    kinds: dict[object, Example] = {kind: examples[index] for index, kind in reversed(list(enumerate(examples.kinds)))}
    batch = collate([kinds[None], kinds["mask"], kinds["mask_delete"], kinds["swap"]], tuple(TRANSCRIPTS))
    plain, masked, also_masked, unmasked = networks.embed(batch).audio_embedding
    assert torch.allclose(plain, unmasked)
    assert not torch.allclose(plain, masked) and not torch.allclose(plain, also_masked)
    waveform, length = batch.waveform, batch.waveform_length
    alone = networks.embed_audio(waveform[1:2, : length[1]], length[1:2], batch.bands[1:2])[1][0]
    assert torch.allclose(alone, masked[: len(alone)], atol=1e-4)


def test_masks_that_a_whisper_encoder_would_not_see_are_refused(
    encoder: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    whisper = {"name": str(tmp_path), "layers": 1, "width": 64, "heads": 4, "feed_forward": 64}
    values = {**TINY, "text.encoder": str(encoder), "audio.encoder": whisper, "train.augment.mode": "on_the_fly"}
    layers = WhisperLayers(AudioEncoderConfig(**whisper), 1500)
    whisper_config(AudioEncoderConfig(**whisper)).save_pretrained(tmp_path)
    save_file({f"encoder.{k}": v.contiguous() for k, v in layers.state_dict().items()}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"set train\.augment\.mode=none"):
        train(["audio"], load_preset("starter", values), corpus, tmp_path / "run", CPU)


def test_learning_rate_rises_then_falls() -> None:
    settings = EmotionStageConfig(warmup_steps=4, decay=0.5)
    assert [learning_rate_factor(settings, step, 0) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert learning_rate_factor(settings, 100, 2) == 0.25


class Broken(Exception):
    """A training ended from outside."""


@pytest.mark.parametrize("stage", ["audio", "text", "emotion"])
@pytest.mark.parametrize("at", [2, 5, 9])
def test_a_broken_run_goes_on_to_the_same_weights(
    stage: Stage, at: int, encoder: Path, corpus: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, augmentation and Adam under way; broken inside the first epoch, at its end, in the second."""
    values = {"epochs": 3, "limit": 4, "batch_size": 2, "checkpoint_steps": 2, "patience": 9}
    overrides = {**TINY, "text.encoder": str(encoder), **{f"train.{stage}.{k}": v for k, v in values.items()}}
    config = load_preset("starter", overrides)
    corpus = [utterance.model_copy(update={"tags": (str(utterance.emotion),)}) for utterance in corpus]
    for run in (tmp_path / "whole", tmp_path / "broken"):
        train(["audio", "text"] if stage == "emotion" else [], config, corpus, run, CPU)
    train([stage], config, corpus, tmp_path / "whole", CPU)

    steps = 0
    backward = CPU.backward

    def breaking(loss: torch.Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps > at:
            raise Broken
        backward(loss)

    monkeypatch.setattr(CPU, "backward", breaking)
    with pytest.raises(Broken):
        train([stage], config, corpus, tmp_path / "broken", CPU)
    monkeypatch.undo()
    train([stage], config, corpus, tmp_path / "broken", CPU, resume=True)
    whole, resumed = (load_file(tmp_path / run / f"{stage}.safetensors") for run in ("whole", "broken"))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    lines = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["stage"] == stage] == [1, 2, 3]


def test_resuming_with_other_settings_is_refused(encoder: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    values = {**TINY, "text.encoder": str(encoder)}
    train(["audio"], load_preset("starter", values), corpus, tmp_path, CPU)
    with pytest.raises(ConfigError, match="other settings"):
        train(["audio"], load_preset("starter", {**values, "train.seed": 2}), corpus, tmp_path, CPU, resume=True)


def test_a_batch_in_parts_has_the_same_gradient(
    make_networks: Callable[..., Networks], corpus: list[Utterance], tmp_path: Path
) -> None:
    values = {"train.emotion.drop_audio": 0.0, "train.emotion.drop_text": 0.0, "emotion.block.dropout": 0.0}
    first = make_networks(**values)
    second = make_networks(**values, **{"train.emotion.accumulate": 2})
    for networks in (first, second):
        train_stage("emotion", networks, corpus, tmp_path, CPU)
    learned = dict(second.emotion.named_parameters())
    for name, parameter in first.emotion.named_parameters():
        # A bias added to all scores does not change a softmax, so Adam only scales up the rounding of its gradient.
        assert name == "text.score.bias" or torch.allclose(parameter, learned[name], atol=1e-4), name


@pytest.mark.parametrize(("choose_by", "deciding"), [("loss", "validation_loss"), ("score", "score")])
def test_a_validation_that_is_not_finite_ends_the_stage(
    choose_by: str,
    deciding: str,
    make_networks: Callable[..., Networks],
    corpus: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would keep the first epoch, whatever came later."""
    scores = {"score": 0.2, "validation_loss": 1.0, deciding: float("nan")}
    monkeypatch.setattr(training_loop, "validate", lambda *_: scores)
    with pytest.raises(DataError, match=f"the validation {deciding} is nan"):
        train_stage("emotion", make_networks(**{"train.emotion.choose_by": choose_by}), corpus, tmp_path, CPU)
