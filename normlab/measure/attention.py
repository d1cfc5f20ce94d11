"""Attention: its largest logits and its entropy, from the queries and keys."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Site, wide

#: Sequences of a micro-batch, and queries of a sequence (spread evenly), that are looked at.
SEQUENCES, QUERIES = 2, 128

#: Raw logits q.k / sqrt(K) (B, H, Q, T) at the query positions (Q,) -> as the softmax gets them.
Finish = Callable[[Tensor, Tensor], Tensor]


def as_they_are(logits_BHQT: Tensor, rows_Q: Tensor) -> Tensor:
    return logits_BHQT


def concentration(q_BHTK: Tensor, k_BHTK: Tensor, *, finish: Finish = as_they_are) -> Tensor:
    """(H + 2,): each head's largest logit; entropy and its share of ln(i + 1), means over heads and rows.

    Entropy -sum_j A_ij ln A_ij in nats (Zhai et al. 2023, 2303.06296), logits as the softmax gets them, in
    float32 at least; of the first sequences and of queries i > 0 (0 has no choice) spread over them.
    """
    q, k = wide(q_BHTK[:SEQUENCES]), wide(k_BHTK[:SEQUENCES])
    time = q.shape[2]
    count = min(QUERIES, time - 1)
    rows = torch.linspace(1, time - 1, count, device=q.device).round().long()
    future = torch.arange(time, device=q.device) > rows[:, None]
    with torch.autocast(q.device.type, enabled=False):
        logits = finish(q[:, :, rows] @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), rows)
    logits = logits.masked_fill(future, -math.inf)
    log_weights = logits.log_softmax(-1)
    entropy = -(log_weights.exp() * log_weights.masked_fill(future, 0)).sum(-1)
    share = entropy / (rows + 1).to(entropy.dtype).log()
    return torch.cat([logits.amax((0, 2, 3)), entropy.mean().view(1), share.mean().view(1)])


class Attention(Looking):
    """`max_logit` of each layer and head, `entropy` and `entropy_share` of each layer."""

    def __init__(self, sites: Mapping[str, Site], heads: int, finish: Mapping[str, Finish]) -> None:
        super().__init__("attention", sites, concentration)
        self.finish = [finish[layer] for layer in sites]
        per_head = [f"attention/max_logit/{layer}/head_{head}" for layer in sites for head in range(heads)]
        self.names = [f"attention/max_logit/{layer}" for layer in sites] + per_head
        self.names += [
            f"attention/{kind}/{layer}" for kind in ("entropy", "entropy_share") for layer in sites
        ]

    def begin(self) -> None:
        for site, finish in zip(self.sites, self.finish, strict=True):
            site.looks[self.family] = partial(self.look, finish=finish)

    def values(self) -> Tensor:
        parts = self.parts()
        logits = parts[..., :-2].amax(0)
        entropy, share = parts[..., -2:].mean(0).unbind(-1)
        return torch.cat([logits.amax(-1), logits.flatten(), entropy, share])
