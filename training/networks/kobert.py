"""KoBERT's `tokenizer.json`, built from its SentencePiece model, so that serving needs nothing else.

`transformers` would read that model as XLNet's, without an error: every Hangul word becomes [UNK], and [CLS] is last.
"""

from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import import_protobuf

# In the order of their ids; then come the pieces of the SentencePiece model, sorted by code point.
SPECIAL = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")
NORMAL = 1  # a piece of text in SentencePiece's ModelProto; the others are <unk>, <s> and </s>
UNIGRAM = 1  # a model type of its TrainerSpec


def build_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of the SentencePiece model at `path`. Raises OSError, and ValueError if it is not such a model."""
    model = import_protobuf().ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path.name} is not a SentencePiece model") from error
    pieces = sorted((piece.piece, piece.score) for piece in model.pieces if piece.type == NORMAL)
    charsmap = model.normalizer_spec.precompiled_charsmap
    if not pieces or not charsmap or model.trainer_spec.model_type != UNIGRAM:
        raise ValueError(f"{path.name} is not a SentencePiece unigram model with a normalisation, as KoBERT's is")
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("[UNK]")))
    tokenizer.normalizer = _normalizer(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _normalizer(charsmap: bytes) -> normalizers.Normalizer:
    """The normalisation of KoBERT's own tokenizer, then that of SentencePiece (`charsmap`)."""
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            # SentencePiece joins the jamo that NFKD took apart; the charsmap's port in `tokenizers` does not.
            normalizers.NFC(),
            normalizers.Precompiled(charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
