"""A tiny but real model version.

It obeys the contract of the three graphs, runs on onnxruntime and depends on every valid frame and token and on nothing
else, so that "batched equals single" means something. It is no emotion model.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from app.store.manifest import GRAPH_NAMES
from training.export.int8 import quantise_int8

CLASSES = ["neutral", "sad", "happy", "surprise", "angry"]
WIDTH, MAX_FRAMES, MAX_TOKENS = 4, 64, 16

_AUDIO = """
<ir_version: 10, opset_import: ["": 20]>
audio_arousal (float[batch, samples] waveform, int64[batch] waveform_length)
  => (float[batch] arousal, float[batch, frames, 4] audio_embedding, bool[batch, frames] audio_mask)
  <int64 zero = {0}, int64 one = {1}, int64 hop = {512}, int64[1] first = {0}, int64[1] second = {1},
   int64[3] no_padding = {0, 0, 0}, int64[3] by_frame = {0, -1, 512}, int64[1] last = {2},
   float silence = {0.0}, float low = {1.0}, float slope = {12.0}, float range = {4.0}>
{
  samples_1 = Shape <start = 1, end = 2> (waveform)
  samples = Squeeze (samples_1)
  whole = Div (samples, hop)
  count = Add (whole, one)
  total = Mul (count, hop)
  missing = Sub (total, samples)
  missing_1 = Unsqueeze (missing, first)
  pads = Concat <axis = 0> (no_padding, missing_1)
  padded = Pad (waveform, pads, silence)
  positions = Range (zero, total, one)
  length = Unsqueeze (waveform_length, second)
  inside = Less (positions, length)
  sound = Where (inside, padded, silence)
  framed = Reshape (sound, by_frame)
  absolute = Abs (framed)
  level = ReduceMean (absolute, last)
  audio_embedding = Mul (level, audio_weights)
  frame_positions = Range (zero, count, one)
  own_whole = Div (length, hop)
  own_count = Add (own_whole, one)
  audio_mask = Less (frame_positions, own_count)
  mask = Cast <to = 1> (audio_mask)
  flat = Squeeze (level, last)
  valid = Mul (flat, mask)
  sum = ReduceSum <keepdims = 0> (valid, second)
  valid_count = ReduceSum <keepdims = 0> (mask, second)
  mean = Div (sum, valid_count)
  steep = Mul (mean, slope)
  bounded = Tanh (steep)
  scaled = Mul (bounded, range)
  arousal = Add (scaled, low)
}
"""

_TEXT = """
<ir_version: 10, opset_import: ["": 20]>
text_valence (int64[batch, tokens] input_ids, int64[batch, tokens] attention_mask)
  => (float[batch] valence, float[batch, tokens, 4] text_embedding)
  <int64[1] second = {1}, int64[1] last = {-1}, float middle = {3.0}, float half = {2.0}>
{
  text_embedding = Gather (table, input_ids)
  mask = Cast <to = 1> (attention_mask)
  mask_1 = Unsqueeze (mask, last)
  valid = Mul (text_embedding, mask_1)
  sum = ReduceSum <keepdims = 0> (valid, second)
  count = ReduceSum <keepdims = 1> (mask, second)
  mean = Div (sum, count)
  weighed = MatMul (mean, text_weights)
  flat = Squeeze (weighed, last)
  bounded = Tanh (flat)
  scaled = Mul (bounded, half)
  valence = Add (scaled, middle)
}
"""

_EMOTION = """
<ir_version: 10, opset_import: ["": 20]>
emotion (float[batch, frames, 4] audio_embedding, bool[batch, frames] audio_mask,
         float[batch, tokens, 4] text_embedding, bool[batch, tokens] text_mask)
  => (float[batch, 5] logits)
  <int64[1] second = {1}, int64[1] last = {-1}, float least = {1.0}>
{
  joined = Concat <axis = 1> (audio_embedding, text_embedding)
  joined_mask = Concat <axis = 1> (audio_mask, text_mask)
  mask = Cast <to = 1> (joined_mask)
  mask_1 = Unsqueeze (mask, last)
  valid = Mul (joined, mask_1)
  sum = ReduceSum <keepdims = 0> (valid, second)
  count = ReduceSum <keepdims = 1> (mask, second)
  counted = Max (count, least)
  mean = Div (sum, counted)
  logits = MatMul (mean, emotion_weights)
}
"""


_ENDLESS = """
<ir_version: 10, opset_import: ["": 20]>
emotion (float[batch, frames, 4] audio_embedding, bool[batch, frames] audio_mask,
         float[batch, tokens, 4] text_embedding, bool[batch, tokens] text_mask)
  => (float[batch, 5] logits)
{
  turns = Constant <value = int64 {9223372036854775807}> ()
  again = Constant <value = bool {1}> ()
  logits = Loop (turns, again, audio_embedding) <body = turn (int64 number, bool go_on, float[b, f, w] given)
    => (bool goes_on, float[b, f, w] negated) { goes_on = Identity (go_on)  negated = Neg (given) }>
}
"""


def _graph(text: str, **weights: NDArray[np.float32]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.checker.check_model(model)
    return model


def _tokenizer() -> Tokenizer:
    """A token a character, between [CLS] and [SEP]; with truncation and padding stored in it, which must not leak."""
    characters = "".join(map(chr, range(33, 127))) + " 가나다라마바사아자차카타파하정말고마워요아진짜왜그러는거야"
    vocabulary = {token: index for index, token in enumerate(["[UNK]", "[PAD]", "[CLS]", "[SEP]"])}
    for character in characters:
        vocabulary.setdefault(character, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[UNK]", "[PAD]", "[CLS]", "[SEP]"])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=300, pad_id=1)
    return tokenizer


def write_version(store: Path, name: str = "starter", version: str = "0.1.0") -> Path:
    """Writes a tiny version with fp32 and int8 graphs into `store` and returns its folder."""
    folder = store / name / version
    folder.mkdir(parents=True)
    random = np.random.default_rng(20)
    tokenizer = _tokenizer()

    def weights(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    fp32 = {
        "audio_arousal": _graph(_AUDIO, audio_weights=weights(1, 1, WIDTH, scale=20)),
        "text_valence": _graph(_TEXT, table=weights(tokenizer.get_vocab_size(), WIDTH), text_weights=weights(WIDTH, 1)),
        "emotion": _graph(_EMOTION, emotion_weights=weights(WIDTH, len(CLASSES))),
    }
    graphs: dict[str, dict[str, Any]] = {"fp32": {}, "int8": {}}
    for graph, model in fp32.items():
        onnx.save(model, folder / f"{graph}.onnx")
    quantise_int8({graph: folder / f"{graph}.onnx" for graph in GRAPH_NAMES}, folder)
    for graph in GRAPH_NAMES:
        graphs["fp32"][graph] = _stored(folder / f"{graph}.onnx")
        graphs["int8"][graph] = _stored(folder / f"{graph}.int8.onnx")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "MODEL_CARD.md").write_text("# Tiny\n\nFor tests.\n", encoding="utf-8")
    manifest = {
        "name": name,
        "version": version,
        "created": "2026-01-01",
        "preset": "tiny",
        "semantics": "masked",
        "license": "Apache-2.0",
        "width": WIDTH,
        "scale": [1, 5],
        "audio": {"sample_rate": 16000, "hop_length": 512, "max_frames": MAX_FRAMES},
        "text": {"tokenizer": _stored(folder / "tokenizer.json"), "max_tokens": MAX_TOKENS},
        "emotion": {"classes": CLASSES, "temperature": {"audio": 2.0, "text": 0.75, "both": 1.5}},
        "graphs": graphs,
        "card": _stored(folder / "MODEL_CARD.md"),
        "drift": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def make_endless(folder: Path) -> None:
    """Puts a loop without end in place of the int8 classifier of the version in `folder`."""
    graph = folder / "emotion.int8.onnx"
    onnx.save(onnx.parser.parse_model(_ENDLESS), graph)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["graphs"]["int8"]["emotion"] = _stored(graph)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _stored(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
