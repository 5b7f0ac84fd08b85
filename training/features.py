"""The audio front-end: waveform to log-mel and its delta, as a module that is exported inside the audio graph.

Equal to librosa 0.11 `melspectrogram` (n_fft 2048, hop 512, 128 Slaney mels, 100..8000 Hz, centred with zeros),
`power_to_db(ref=np.max, top_db=80)` and `delta` (width 9, order 1) on each utterance alone, whatever its padding.
It avoids the STFT operator, which has no CUDA kernel in onnxruntime. The 2048-point DFT is two small matrix products
(Cooley and Tukey, 2048 = 32 * 64), a tenth of the work of a dense one, in float64: float32 errs by 4e-3 dB near -80 dB.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from app.audio.decode import SAMPLE_RATE

N_FFT = 2048
HOP_LENGTH = 512  # samples a frame; serving reads it in the manifest
N_MELS = 128
F_MIN, F_MAX = 100.0, 8000.0  # Hz
TOP_DB = 80.0  # the floor, below the maximum of the utterance
AMIN = 1e-10  # the least power, as in librosa
DELTA_REACH = 4  # frames on either side: width 9

_ROWS, _COLUMNS = 32, 64  # 2048 samples as a matrix for the two-step DFT


def frame_count(samples: Tensor) -> Tensor:
    """The number of frames of an utterance with `samples` samples."""
    return 1 + samples // HOP_LENGTH


class LogMelDelta(nn.Module):
    """`waveform` [batch, samples] 16 kHz, -1..1, right-padded; `length` i64 [batch], samples of each utterance.

    Returns `features` [batch, 2, frames, 128], log-mel in dB (-80..0, 0 the utterance's own maximum) and its first
    difference in dB a frame, and `frames` i64 [batch]. Frames past an utterance's own are -80 dB and 0.
    """

    window: Tensor
    rows_real: Tensor
    rows_imag: Tensor
    twiddle_real: Tensor
    twiddle_imag: Tensor
    columns: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
        # Sample 64 r + c meets bin i + 32 j with the phase -2 pi (r i / 32 + c i / 2048 + c j / 64). For a real signal
        # the first 17 of the 32 values of i hold every bin or its mirror image.
        i = np.arange(_ROWS // 2 + 1)
        c = np.arange(_COLUMNS)
        rows = np.exp(-2j * np.pi * np.outer(np.arange(_ROWS), i) / _ROWS)
        twiddle = np.exp(-2j * np.pi * np.outer(i, c) / N_FFT)
        columns = np.exp(-2j * np.pi * np.outer(c, c) / _COLUMNS)
        bins = i[:, None] + _ROWS * c[None, :]
        bins = np.where(bins > N_FFT // 2, N_FFT - bins, bins).ravel()
        times_met = np.bincount(bins)
        mel = mel_filters()[:, bins] / times_met[bins]
        for name, value in {
            "window": window.reshape(_ROWS, _COLUMNS),
            "rows_real": rows.real,
            "rows_imag": rows.imag,
            "twiddle_real": twiddle.real,
            "twiddle_imag": twiddle.imag,
            # [real, imaginary] times this is [real, imaginary] of the product.
            "columns": np.block([[columns.real, columns.imag], [-columns.imag, columns.real]]),
            "mel": mel.T,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)), persistent=False)

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        samples = waveform.shape[1]
        inside = torch.arange(samples, device=waveform.device)[None, :] < length[:, None]
        power = self._mel_power(torch.where(inside, waveform, 0.0))

        frames = frame_count(length)
        position = torch.arange(power.shape[1], device=waveform.device)[None, :]
        valid = position < frames[:, None]
        level = 10.0 * torch.log10(power.clamp(min=AMIN))
        loudest = torch.where(valid[:, :, None], level, 10.0 * math.log10(AMIN)).amax(dim=(1, 2), keepdim=True)
        log_mel = torch.where(valid[:, :, None], (level - loudest).clamp(min=-TOP_DB), -TOP_DB)
        difference = torch.where(valid[:, :, None], delta(log_mel, frames), 0.0)
        return torch.stack((log_mel, difference), dim=1), frames

    def _mel_power(self, waveform: Tensor) -> Tensor:
        """[batch, samples] to power [batch, frames, 128]."""
        hops = waveform.shape[1] // HOP_LENGTH
        centred = pad(waveform, (N_FFT // 2, N_FFT // 2))[:, : (hops + N_FFT // HOP_LENGTH) * HOP_LENGTH]
        blocks = centred.reshape(waveform.shape[0], -1, HOP_LENGTH)
        framed = torch.cat([blocks[:, k : k + hops + 1] for k in range(N_FFT // HOP_LENGTH)], dim=2)
        matrix = framed.reshape(-1, _ROWS, _COLUMNS).double() * self.window
        by_column = matrix.transpose(1, 2)
        real = (by_column @ self.rows_real).transpose(1, 2)
        imag = (by_column @ self.rows_imag).transpose(1, 2)
        turned = torch.cat(
            (
                real * self.twiddle_real - imag * self.twiddle_imag,
                real * self.twiddle_imag + imag * self.twiddle_real,
            ),
            dim=2,
        )
        spectrum = turned @ self.columns
        power = spectrum[..., :_COLUMNS].square() + spectrum[..., _COLUMNS:].square()
        return (power.flatten(1) @ self.mel).float().reshape(waveform.shape[0], -1, N_MELS)


def delta(log_mel: Tensor, frames: Tensor) -> Tensor:
    """First difference over time of [batch, frames, mels], librosa's Savitzky-Golay slope of width 9 and order 1.

    The first and last four frames of an utterance repeat the slope at its fifth and fifth-last, as librosa's mode
    `interp` does for order 1. Under nine frames, where that refuses, the edges are repeated (its mode `nearest`).
    """
    last = frames[:, None] - 1
    centre = torch.arange(log_mel.shape[1], device=log_mel.device)[None, :]
    inner = torch.minimum(centre.clamp(min=DELTA_REACH), last - DELTA_REACH)
    centre = torch.where(last >= 2 * DELTA_REACH, inner, centre)
    slope = torch.zeros_like(log_mel)
    for offset in range(1, DELTA_REACH + 1):
        ahead = torch.minimum((centre + offset).clamp(min=0), last)
        behind = torch.minimum((centre - offset).clamp(min=0), last)
        slope = slope + offset * (_take(log_mel, ahead) - _take(log_mel, behind))
    return slope / (2 * sum(offset**2 for offset in range(1, DELTA_REACH + 1)))


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [batch, frames] of `values` [batch, frames, mels]."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))


def mel_filters() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Slaney's triangular filters [128, 1025], each of unit area over Hz (librosa `filters.mel`, its defaults)."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(F_MIN), _hz_to_mel(F_MAX), N_MELS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (bins[None, :] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    # Rounded to float32, as in librosa.
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32).astype(np.float64)


# Slaney's Auditory Toolbox (1998): linear below 1 kHz at 200/3 Hz a mel, logarithmic above, 27 mels for a factor 6.4.
_KNEE_HZ, _HZ_PER_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, math.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    return hz / _HZ_PER_MEL if hz < _KNEE_HZ else _KNEE_HZ / _HZ_PER_MEL + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _mel_to_hz(mels: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    knee = _KNEE_HZ / _HZ_PER_MEL
    return np.where(mels < knee, mels * _HZ_PER_MEL, _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mels, knee) - knee)))
