"""The output: normalizer and largest of the logits, and the tail of the token losses."""

import torch
from torch import Tensor

from normlab.measure.instrument import Instrument, Reading, wide


class Output(Instrument):
    """`log_z`, the mean of log sum exp of a token's logits (PaLM, 2204.02311); `max_logit`; `loss_p99`, the
    99th percentile of the token losses: a spike of few tokens is the text's, one of all the model's."""

    def begin(self) -> None:
        self._log_z: list[Tensor] = []
        self._largest: list[Tensor] = []
        self._losses: list[Tensor] = []

    def micro(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        logits_NV = wide(logits_NV)
        log_z_N = logits_NV.logsumexp(-1)
        self._log_z.append(log_z_N)
        self._largest.append(logits_NV.amax())
        self._losses.append(log_z_N - logits_NV.gather(1, targets_N[:, None]).squeeze(1))

    def values(self) -> list[Reading]:
        log_z, largest = self.gather(torch.cat(self._log_z)), self.gather(torch.stack(self._largest))
        losses = self.gather(torch.cat(self._losses))
        tail = losses.sort().values[min(len(losses) - 1, int(0.99 * len(losses)))]
        return [
            Reading("output/log_z", log_z.mean().view(1)),
            Reading("output/max_logit", largest.amax().view(1)),
            Reading("output/loss_p99", tail.view(1)),
        ]
