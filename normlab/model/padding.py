"""Padding: places of a batch that hold no token, where its sequences are of different lengths."""

import math

import torch
from torch import Tensor, nn

from normlab.config import PAD


class Padding:
    """Which places of the batch hold a token; one for a model. Attention and norms look it up."""

    def __init__(self) -> None:
        #: True for a token; of the batch that is passing the model.
        self.real_BT = torch.ones(0, 0, dtype=torch.bool)

    def hide(self, bias_HTT: Tensor | None) -> Tensor:
        """A bias on attention logits with -inf for each key that is padding: (B, H, T, T) or (B, 1, 1, T)."""
        bias_B11T = torch.zeros(self.real_BT.shape, device=self.real_BT.device)
        bias_B11T = bias_B11T.masked_fill(~self.real_BT, -math.inf)[:, None, None]
        return bias_B11T if bias_HTT is None else bias_B11T + bias_HTT

    def rows(self, x: Tensor) -> Tensor:
        """Which of the B*T rows of x (B, T, ...) are tokens, or of B*H*T where each head is a sequence."""
        return self.real_BT.repeat_interleave(x.shape[0] // self.real_BT.shape[0], dim=0).flatten()


class PaddedTokens(nn.Embedding):
    """The embedding of tokens, 0 where there is none: ids (B, T), `PAD` for padding -> (B, T, D)."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__(vocab, width)
        self.padding = Padding()

    def forward(self, ids_BT: Tensor) -> Tensor:
        self.padding.real_BT = ids_BT != PAD
        return super().forward(ids_BT.clamp(min=0)) * self.padding.real_BT[..., None]
