"""Causal multi-head self-attention."""

import torch.nn.functional as F
from torch import Tensor, nn

from normlab.components.positions import Rotary
from normlab.config import ModelConfig


class Attention(nn.Module):
    """softmax(q k^T / sqrt(K)) v over earlier positions (1706.03762). (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.bias)
        self.out = nn.Linear(config.width, config.width, bias=config.bias)
        rotary = config.positions == "rope"
        head_width = config.width // config.heads
        self.turn = Rotary(config.context, head_width, config.rope_base) if rotary else nn.Identity()

    def forward(self, x_BTD: Tensor) -> Tensor:
        batch, time, width = x_BTD.shape
        qkv_3BHTK = (
            self.qkv(x_BTD).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        q_BHTK, k_BHTK, v_BHTK = qkv_3BHTK.unbind(0)
        dropout = self.dropout if self.training else 0.0
        mixed_BHTK = F.scaled_dot_product_attention(
            self.turn(q_BHTK), self.turn(k_BHTK), v_BHTK, dropout_p=dropout, is_causal=True
        )
        out: Tensor = self.out(mixed_BHTK.transpose(1, 2).reshape(batch, time, width))
        return out
