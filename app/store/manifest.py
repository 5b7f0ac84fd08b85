"""The manifest of a model version: everything that serving knows about a model, as data.

A version is a folder `model_store/<name>/<version>/` with `manifest.json` and the files it lists. Here is what the
manifest holds; `app.store.versions` finds versions, reads manifests and checks files.
"""

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from ..settings import Precision

GraphName = Literal["audio_arousal", "text_valence", "emotion"]
GRAPH_NAMES: tuple[GraphName, ...] = ("audio_arousal", "text_valence", "emotion")
Available = Literal["audio", "text", "both"]
AVAILABLE: tuple[Available, ...] = ("audio", "text", "both")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Inside the version's folder, and of a kind that holds no code: never a pickle.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.(onnx|json|safetensors|md)$")]


# The warm-up runs the longest input: without these ends a slip of the pen in a manifest would ask for all memory.
_MAX_WINDOW_SAMPLES = 16_000 * 3_600  # an hour
_MAX_TOKENS = 8_192
_MAX_WIDTH = 65_536
_MAX_CARD_BYTES = 1_000_000  # it is part of an answer


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StoredFile(_Frozen):
    """One file of the version, pinned by its digest."""

    file: FileName
    sha256: Sha256
    bytes: int = Field(ge=1)


class SpeechDetection(_Frozen):
    """The audio graph gets the speech of a clip alone: it was trained so."""

    detector: StoredFile = Field(description="Silero VAD's sequence graph")
    license: StoredFile = Field(description="The detector's licence")
    least_s: float = Field(gt=0, description="Seconds of speech, of which fewer are too little to rely on")


class AudioInput(_Frozen):
    """The input of the audio graph: mono float32, -1..1."""

    sample_rate: int = Field(ge=16_000, le=16_000, description="Hz: the rate that every clip is resampled to")
    hop_length: int = Field(ge=1, description="Samples per frame; an utterance has 1 + samples // hop_length frames")
    max_frames: int = Field(ge=1, description="The model uses the first frames up to this number")
    whole_clip: bool = Field(
        False,
        description="The graph takes a longer clip whole, as its loudest value sets the level, and cuts it",
    )
    speech: SpeechDetection | None = Field(
        None, description="How speech is found; null where the graph was trained on clips as they are"
    )

    @model_validator(mode="after")
    def _window(self) -> Self:
        if not 1 <= self.max_samples <= _MAX_WINDOW_SAMPLES:
            raise ValueError(f"hop_length and max_frames make a window of {self.max_samples} samples")
        return self

    @property
    def max_samples(self) -> int:
        """The longest waveform that still has `max_frames` frames."""
        return self.max_frames * self.hop_length - 1

    @property
    def taken_samples(self) -> int | None:
        """Samples to cut a waveform to; None where the graph takes it whole."""
        return None if self.whole_clip else self.max_samples


class TextInput(_Frozen):
    """The input of the text graph: token ids of this tokenizer, special tokens included."""

    tokenizer: StoredFile
    max_tokens: int = Field(ge=1, le=_MAX_TOKENS)


class _ByModality(_Frozen):
    """A number by the available modalities. A plain number is read as one for all three."""

    audio: float = Field(ge=0.001, le=1_000, description="With audio alone")
    text: float = Field(ge=0.001, le=1_000, description="With a transcript alone")
    both: float = Field(ge=0.001, le=1_000, description="With both")

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        return dict.fromkeys(AVAILABLE, value) if isinstance(value, int | float) else value

    def of(self, available: Available) -> float:
        """The number for inputs with the `available` modalities."""
        return {"audio": self.audio, "text": self.text, "both": self.both}[available]


class Temperatures(_ByModality):
    """Softmax temperatures."""


class Bounds(_ByModality):
    """Probabilities."""


class EmotionOutput(_Frozen):
    """How the classifier's logits become probabilities: softmax(logits / temperature)."""

    classes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1, max_length=1_000)
    temperature: Temperatures = Field(description="Fitted on validation data")
    uncertain_below: Bounds | None = Field(
        None, description="The answer is uncertain where no probability reaches this; null where it was not measured"
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("a class is listed twice, so that an answer would lack one's probability")
        return classes


class Manifest(_Frozen):
    """A version of a model: its graphs, their input and output, how it was made and how good it is."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*$")
    created: str = Field(description="Date, ISO 8601")
    preset: str
    semantics: Literal["masked", "original"] = Field(
        description="`masked`: padding has no effect. `original`: computes as the published checkpoints do"
    )
    license: str = Field(description="SPDX id of the weights' licence")
    width: int = Field(ge=1, le=_MAX_WIDTH, description="The model dimension of both embeddings")
    scale: tuple[float, float] = Field(description="Lowest and highest arousal and valence")
    audio: AudioInput
    text: TextInput
    emotion: EmotionOutput
    graphs: dict[Precision, dict[GraphName, StoredFile]] = Field(
        min_length=1, description="The three graphs that belong together, by precision"
    )
    card: StoredFile = Field(description="MODEL_CARD.md")
    weights: StoredFile | None = Field(
        None,
        validation_alias=AliasChoices("weights", "checkpoint"),  # the name until 0.2.1 of the starter
        description="Weights to fine-tune from; fp16 graphs may point into them",
    )
    drift: dict[Precision, dict[str, float]] = Field(
        description="By precision and output: the largest difference to the fp32 torch model, relative where over 1"
    )
    evaluation: dict[str, object] = Field(default_factory=dict, description="Measured figures, with n")
    training: dict[str, object] = Field(default_factory=dict, description="Data, seed and settings of the training")

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not scale[0] < scale[1]:
            raise ValueError("the lowest value comes first, and is below the highest")
        return scale

    @field_validator("card")
    @classmethod
    def _short(cls, card: StoredFile) -> StoredFile:
        if card.bytes > _MAX_CARD_BYTES:
            raise ValueError(f"the card may have at most {_MAX_CARD_BYTES} bytes")
        return card

    def files(self) -> list[StoredFile]:
        """Every file of the version except the manifest itself."""
        graphs = [stored for by_name in self.graphs.values() for stored in by_name.values()]
        speech = self.audio.speech
        detection = [speech.detector, speech.license] if speech else []
        return [*graphs, self.text.tokenizer, *detection, self.card, *([self.weights] if self.weights else [])]
