"""The heads: an embedding, a vector per frame or token, to a few numbers for the utterance."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ..config import Head

MASKED = -1e4  # added to the score of a masked position; -1e9 overflows in float16
FARTHEST = 1.5  # the largest root mean square of a scaled mean; that of speech is 1


class LastState(nn.Module):
    """A recurrent stack that reads x [batch, time, width] up to length [batch] and a linear layer on its last state."""

    def __init__(self, recurrent: nn.GRU | nn.LSTM, outputs: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.linear = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, length.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        state = self.recurrent(packed)[1]
        last = state[0] if isinstance(self.recurrent, nn.LSTM) else state
        return self.linear(last[-1])


class AttentivePool(nn.Module):
    """A weighted mean of x [batch, time, width] up to length [batch], its weights learned, and a linear layer on it."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        past = torch.arange(x.shape[1], device=x.device)[None, :] >= length[:, None]
        scores = self.score(x)[:, :, 0]
        weights = (scores + past.to(scores.dtype) * MASKED).softmax(dim=1)
        return self.linear((weights[:, None, :] @ x)[:, 0])


class MeanPool(nn.Module):
    """The mean of x [batch, time, width], zero past length [batch], and a linear layer on it.

    `centre` and `spread` scale the means to those of training. A mean further off than any of them, such as that of
    noise or silence, is brought back: a linear layer would answer it with unfounded certainty.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        return self.of_mean(x.sum(dim=1) / length.clamp(min=1)[:, None].to(x.dtype))

    def of_mean(self, mean: Tensor) -> Tensor:
        """The same from means [batch, width]."""
        scaled = (mean - self.centre) / self.spread
        distance = scaled.square().mean(dim=1, keepdim=True).sqrt()
        return self.linear(self.dropout(scaled / (distance / FARTHEST).clamp(min=1.0)))


def make_head(
    kind: Head, width: int, stack: type[nn.GRU] | type[nn.LSTM], size: int, outputs: int, dropout: float
) -> nn.Module:
    """A head from an embedding of `width` to `outputs` numbers; `stack` and `size` are those of a recurrent head."""
    if kind != "recurrent":
        return AttentivePool(width, outputs) if kind == "attentive" else MeanPool(width, outputs, dropout)
    return LastState(stack(width, size, 2, bias=False, batch_first=True, dropout=dropout), outputs)
