"""A version of the `paper` preset to time: the published sizes, with weights made by a rule, because the trained ones
may not be passed on. It is made once, in a folder that git ignores, and again when the code that makes it changes.

    python -m benchmarks.workload.paper

Its answers mean nothing, but it costs what trained weights cost. Its tokenizer makes about one token per syllable.
"""

import hashlib
import shutil
import tempfile
import zlib
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig

import training
from app.errors import ModelCorrupt
from app.store.versions import load_manifest
from training.config import STAGES, load_preset
from training.export.version import Release, export
from training.networks.files import save_config, save_stage
from training.networks.networks import Networks
from training.networks.text_encoder import TOKENIZER_FILE, blank_encoder

STORE = Path(__file__).parents[1] / ".store"
MODEL = "paper/0.0.0"
MIDDLE = 3.0  # of the scale: scores around it are not clipped, so that they can be compared
SPECIAL = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")  # KoBERT's, in its order


def ensure_paper() -> Path:
    """The model store that holds `MODEL`. Making it takes a minute or two and 1.2 GB."""
    recipe = _recipe()
    folder = STORE / MODEL
    if _is_of(folder, recipe):
        return STORE
    if folder.exists():
        shutil.rmtree(folder)
    STORE.mkdir(exist_ok=True)
    name, number = MODEL.split("/")
    release = Release(name, number, "Apache-2.0", "Weights by a rule, for timing alone.", training={"recipe": recipe})
    with tempfile.TemporaryDirectory(dir=STORE, prefix=".") as scratch:
        run = Path(scratch)
        networks = rule_made_networks()
        save_config(run, networks)
        for stage in STAGES:
            save_stage(run, networks, stage)
        _tokenizer().save(str(run / TOKENIZER_FILE))
        export(run, STORE, release, ["int8", "fp32", "fp16"])
    return STORE


def rule_made_networks() -> Networks:
    """The networks of the `paper` preset. The CRC-32 of a parameter's name is the seed that it is drawn from; only the
    biases of the two scores are fixed.
    """
    networks = Networks(load_preset("paper"), blank_encoder(_kobert()))
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            parameter.copy_(_rule(name, parameter.shape))
        for regressor in (networks.audio, networks.text):
            regressor.get_parameter("head.linear.bias").fill_(MIDDLE)
    return networks.eval()


def _kobert() -> BertConfig:
    """KoBERT's sizes, which are BertConfig's defaults except for the vocabulary."""
    return BertConfig(vocab_size=8002, pad_token_id=1)


def _rule(name: str, shape: torch.Size) -> Tensor:
    """Weights whose activations neither vanish nor explode through the layers."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if "norm" in name.lower() and name.endswith("weight"):
        return 1 + 0.1 * values
    return values / values[0].numel() ** 0.5 if len(shape) > 1 else 0.1 * values


def _tokenizer() -> Tokenizer:
    """A token for each of the 2,350 syllables of KS X 1001 and each ASCII character; spaces are ignored."""
    hangul = (bytes((row, cell)).decode("euc_kr") for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
    vocabulary = {token: index for index, token in enumerate(chain(SPECIAL, map(chr, range(33, 127)), hangul))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def _recipe() -> str:
    """A hash of everything that may change the graphs: this file, the training package and its export libraries."""
    package = Path(training.__file__).parent
    sources = [Path(__file__), *sorted(package.rglob("*.py")), package / "presets" / "paper.toml"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(" ".join(version(name) for name in ("torch", "transformers", "onnx", "onnxruntime")).encode())
    return digest.hexdigest()


def _is_of(folder: Path, recipe: str) -> bool:
    try:
        return load_manifest(folder).training.get("recipe") == recipe
    except ModelCorrupt:
        return False


if __name__ == "__main__":
    print(ensure_paper() / MODEL)
