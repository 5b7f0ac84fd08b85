"""The audio network on the first layers of a pretrained Whisper encoder, in place of mels and convolutions.

Serving and the classifier see the same outputs: frames of 512 samples, an embedding, arousal. Two things differ from
Whisper: an utterance is not padded to 30 s, and its loudest value sets the level, so that gain changes nothing.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from transformers import WhisperConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperEncoderLayer, sinusoids

from app.audio.decode import SAMPLE_RATE

from ..config import AudioConfig, AudioEncoderConfig
from ..features import AMIN, HOP_LENGTH, frame_count
from .model import Block
from .pooling import MASKED, make_head
from .text_encoder import WEIGHTS, EncoderError, find_encoder, load_encoder_config

N_FFT = 400
WHISPER_HOP = 160
N_MELS = 80
RANGE = 8.0  # decades of power below the loudest value that are kept
LOUDEST = 1.5  # decades: the loudest value of ordinary speech in Whisper's own scale
STRIDE = 2 * WHISPER_HOP  # samples per step of the encoder, whose second convolution halves the rate


class LogMel(nn.Module):
    """`waveform` [batch, samples] 16 kHz, -1..1, right-padded, and `length` i64 [batch] to Whisper's `features`
    [batch, 80, mel frames], and `frames` i64 [batch], one in 160 samples. Features past the end of an utterance are 0.
    """

    dft: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        phase = -2j * np.pi * np.outer(np.arange(N_FFT), np.arange(N_FFT // 2 + 1)) / N_FFT
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
        dft = window[:, None] * np.exp(phase)
        mel = mel_filter_bank(
            N_FFT // 2 + 1, N_MELS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        for name, value in {"dft": np.hstack((dft.real, dft.imag)), "mel": mel}.items():
            self.register_buffer(name, torch.from_numpy(value).float(), persistent=False)

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        samples = waveform.shape[1]
        inside = torch.arange(samples, device=waveform.device)[None, :] < length[:, None]
        waveform = torch.where(inside, waveform, 0.0)
        # A frame is five blocks of 80 samples and begins two blocks after the one before.
        half = WHISPER_HOP // 2
        hops = samples // WHISPER_HOP
        padded = pad(waveform, (N_FFT // 2, N_FFT // 2 + WHISPER_HOP))[:, : (2 * hops + N_FFT // half + 1) * half]
        blocks = padded.reshape(waveform.shape[0], -1, half)
        framed = torch.cat([blocks[:, k : k + 2 * hops + 1 : 2] for k in range(N_FFT // half)], dim=2)
        bins = N_FFT // 2 + 1
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = framed @ self.dft
            power = (spectrum[..., :bins].square() + spectrum[..., bins:].square()) @ self.mel

        frames = 1 + length // WHISPER_HOP
        valid = (torch.arange(power.shape[1], device=waveform.device)[None, :] < frames[:, None])[:, :, None]
        level = power.clamp(min=AMIN).log10()
        loudest = torch.where(valid, level, math.log10(AMIN)).amax(dim=(1, 2), keepdim=True)
        features = ((level - loudest).clamp(min=-RANGE) + (LOUDEST + 4.0)) / 4.0
        return torch.where(valid, features, 0.0).transpose(1, 2), frames


class WhisperLayers(nn.Module):
    """Features [batch, 80, mel frames] and their number i64 [batch] to [batch, steps, width] and the steps' number."""

    positions: Tensor

    def __init__(self, config: AudioEncoderConfig, steps: int) -> None:
        super().__init__()
        shape = whisper_config(config)
        self.conv1 = nn.Conv1d(N_MELS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(WhisperEncoderLayer(shape) for _ in range(config.layers))
        self.averaged = config.averaged
        self.register_buffer("positions", sinusoids(steps, config.width), persistent=False)

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        # Past the end of an utterance the convolutions must see zeros, as they do outside a batch.
        x = gelu(self.conv1(features)) * self._inside(features.shape[2], frames)[:, None, :]
        x = gelu(self.conv2(x)).transpose(1, 2)
        steps = (frames + 1) // 2
        x = x + self.positions[: x.shape[1]]
        additive = (~self._inside(x.shape[1], steps))[:, None, None, :].to(x.dtype) * MASKED
        outputs = []
        for layer in self.layers:
            x = layer(x, additive)
            outputs.append(x)
        return torch.stack(outputs[-self.averaged :]).mean(dim=0), steps

    def _inside(self, size: int, number: Tensor) -> Tensor:
        return torch.arange(size, device=number.device)[None, :] < number[:, None]


class WhisperArousal(nn.Module):
    """As `training.networks.model.AudioArousal`, but on the Whisper encoder."""

    def __init__(self, config: AudioConfig, encoder: AudioEncoderConfig) -> None:
        super().__init__()
        self.width = encoder.width
        self.frozen = encoder.frozen
        self.max_samples = config.max_frames * HOP_LENGTH - 1
        self.features = LogMel()
        self.encoder = WhisperLayers(encoder, 1 + self.max_samples // STRIDE)
        self.block = Block(self.width, config.block)
        self.head = make_head(config.head, self.width, nn.GRU, config.recurrent, 1, config.block.dropout)

    def forward(self, waveform: Tensor, waveform_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        waveform, length = waveform[:, : self.max_samples], waveform_length.clamp(max=self.max_samples)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            steps, number = self.encoder(*self.features(waveform, length))
        x = at_frames(steps, number, 1 + waveform.shape[1] // HOP_LENGTH)
        frames = frame_count(length)
        mask = torch.arange(x.shape[1], device=x.device)[None, :] < frames[:, None]
        embedding = self.block(x, mask) * mask[:, :, None]
        return self.head(embedding, frames)[:, 0], embedding, mask


def at_frames(x: Tensor, number: Tensor, frames: int) -> Tensor:
    """Resamples x [batch, steps, width], one step in 320 samples, to `frames`, one in 512.

    Interpolates linearly. The first `number` [batch] steps are real; past the last of them it is repeated.
    """
    sample = torch.arange(frames, device=x.device) * HOP_LENGTH
    before = sample // STRIDE
    share = ((sample % STRIDE).to(x.dtype) / STRIDE)[None, :, None]
    after = (before + 1).clamp(max=x.shape[1] - 1)
    earlier = x[:, before]
    later = torch.where((after[None, :] < number[:, None])[:, :, None], x[:, after], earlier)
    return earlier + share * (later - earlier)


def whisper_config(config: AudioEncoderConfig) -> WhisperConfig:
    """The numbers of `config` as `transformers` takes them."""
    shape = WhisperConfig(
        d_model=config.width,
        encoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        encoder_ffn_dim=config.feed_forward,
        num_mel_bins=N_MELS,
    )
    shape._attn_implementation = "eager"  # as in the text encoder
    return shape


def load_pretrained(layers: WhisperLayers, config: AudioEncoderConfig) -> None:
    """Loads the weights of the encoder that `config` names into `layers`. Raises EncoderError."""
    folder = find_encoder(config.name, parts=(WEIGHTS,))
    has = load_encoder_config(folder).encoder_layers
    if has < config.layers:
        raise EncoderError(f"The audio encoder {config.name} has {has} layers, not {config.layers}.")
    try:
        encoder = WhisperEncoder.from_pretrained(
            folder, config=whisper_config(config), dtype=torch.float32, local_files_only=True
        )
        weights = {name: value for name, value in encoder.state_dict().items() if name in layers.state_dict()}
        layers.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderError(f"The audio encoder {config.name} cannot be loaded: {str(error).splitlines()[0]}") from error
