"""A version of the `paper` preset to time: the published sizes, with weights made by a rule, as nobody may pass on the
trained ones. Made once, into a folder that git ignores, and again where the code that makes it has changed.

    python -m benchmarks.workload.paper

What it answers means nothing; what it costs is what trained weights cost. Its tokenizer has about a token a syllable.
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
MIDDLE = 3.0  # of the scale: scores lie around it, so that they are not clipped and can be compared
SPECIAL = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")  # KoBERT's, in its order


def ensure_paper() -> Path:
    """The model store that holds `MODEL`, made if need be: a minute or two, and 1.2 GB."""
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
    """The networks of the `paper` preset, every parameter drawn from a seed of its own, its name's CRC-32, but
    for the biases of the two scores.
    """
    networks = Networks(load_preset("paper"), blank_encoder(_kobert()))
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            parameter.copy_(_rule(name, parameter.shape))
        for regressor in (networks.audio, networks.text):
            regressor.get_parameter("head.linear.bias").fill_(MIDDLE)
    return networks.eval()


def _kobert() -> BertConfig:
    """KoBERT's sizes: but for its vocabulary, those that BertConfig has anyway."""
    return BertConfig(vocab_size=8002, pad_token_id=1)


def _rule(name: str, shape: torch.Size) -> Tensor:
    """Weights that neither die out nor explode on their way through the layers."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if "norm" in name.lower() and name.endswith("weight"):
        return 1 + 0.1 * values
    return values / values[0].numel() ** 0.5 if len(shape) > 1 else 0.1 * values


def _tokenizer() -> Tokenizer:
    """A token for each of the 2,350 syllables of KS X 1001 and of ASCII's characters; spaces are not read."""
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
    """Changes with all that may change the graphs: this file, the training package and what it exports with."""
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
