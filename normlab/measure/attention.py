"""Attention: its largest logits and its entropy, from the queries and keys of the whole batch."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Reading, SiteProtocol, wide

#: Logits that are held at once, unless one query of all heads has more. At context 1024, pieces of 2^20 take
#: two thirds of the time that pieces of 2^22 take.
PIECE = 2**20

#: Raw logits q.k / sqrt(K) (B, H, Q, T) at the query positions (Q,) -> as the softmax gets them.
Finish = Callable[[Tensor, Tensor], Tensor]


def as_they_are(logits_BHQT: Tensor, rows_Q: Tensor) -> Tensor:
    return logits_BHQT


def concentration(
    q_BHTK: Tensor, k_BHTK: Tensor, *, finish: Finish = as_they_are, causal: bool = True
) -> Tensor:
    """(H, 4): each head's largest logit, sums over its queries of the entropy and of its share of the most,
    and their number.

    Entropy -sum_j A_ij ln A_ij in nats (Zhai et al. 2023, 2303.06296), logits as the softmax gets them, in
    float32 at least. If `causal`, query i sees i + 1 tokens, ln(i + 1) is the most, and 0 has no choice: its
    logit counts, its entropy does not. Else each sees all T, and ln T is the most.
    """
    q_BHTK, k_BHTK = wide(q_BHTK), wide(k_BHTK)
    batch, heads, time, width = q_BHTK.shape
    rows_a_piece = max(1, min(time, PIECE // (heads * time)))
    sequences = max(1, PIECE // (heads * time * rows_a_piece))
    pieces = []
    for q, k in zip(torch.split(q_BHTK, sequences), torch.split(k_BHTK, sequences), strict=True):
        for rows in torch.split(torch.arange(time, device=q.device), rows_a_piece):
            with torch.autocast(q.device.type, enabled=False):
                logits = finish(q[:, :, rows] @ k.transpose(-1, -2) / math.sqrt(width), rows)
            pieces.append(_piece(logits, rows + 1 if causal else torch.full_like(rows, time)))
    largest, *sums = torch.stack(pieces).unbind(-1)
    queries = largest.new_full((heads,), batch * (time - 1 if causal else time))
    return torch.stack([largest.amax(0), *(each.sum(0) for each in sums), queries], dim=-1)


def _piece(logits_BHQT: Tensor, seen_Q: Tensor) -> Tensor:
    """(H, 3): largest logit, sums of the entropy and of its share, of queries that see `seen_Q` tokens."""
    hidden = torch.arange(logits_BHQT.shape[-1], device=seen_Q.device) >= seen_Q[:, None]
    logits_BHQT = logits_BHQT.masked_fill(hidden, -math.inf)
    entropy_BHQ = torch.special.entr(logits_BHQT.softmax(-1)).sum(-1)
    # ln 1 = 0 is put at 1: a query that sees one token has entropy 0, and a share of 0.
    most_Q = seen_Q.to(entropy_BHQ.dtype).log().where(seen_Q > 1, 1.0)
    sums = [each.sum((0, 2)) for each in (entropy_BHQ, entropy_BHQ / most_Q)]
    return torch.stack([logits_BHQT.amax((0, 2, 3)), *sums], dim=-1)


class AttentionMeasure(Looking):
    """Over all sequences and queries of the batch: `max_logit` of each layer and head; `entropy` and
    `entropy_share` of each layer, means over heads and queries; `entropy_min` and `entropy_share_min`, of the
    head whose mean over the queries is least: one collapsed head of many hardly moves the layer's mean."""

    def __init__(
        self, sites: Mapping[str, SiteProtocol], heads: int, finish: Mapping[str, Finish], causal: bool = True
    ) -> None:
        super().__init__("attention", sites, partial(concentration, causal=causal))
        self.finish = [finish[layer] for layer in sites]
        self.heads = [f"{layer}/head_{head}" for layer in sites for head in range(heads)]

    def begin(self) -> None:
        for site, finish in zip(self.sites, self.finish, strict=True):
            site.looks[self.family] = partial(self.look, finish=finish)

    def values(self) -> list[Reading]:
        parts = self.parts()
        logits = parts[..., 0].amax(0)
        entropy, share, queries = parts[..., 1:].sum(0).unbind(-1)
        entropy, share = entropy / queries, share / queries
        return [
            Reading("attention/max_logit", logits.amax(-1), self.places),
            Reading("attention/max_logit", logits.flatten(), self.heads),
            Reading("attention/entropy", entropy.mean(-1), self.places),
            Reading("attention/entropy_share", share.mean(-1), self.places),
            Reading("attention/entropy_min", entropy.amin(-1), self.places),
            Reading("attention/entropy_share_min", share.amin(-1), self.places),
        ]
