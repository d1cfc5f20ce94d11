"""The detectors: one row each, in the order in which they see a row."""

from dataclasses import dataclass
from typing import Any

from normlab.config import ExplosionConfig, PlateauConfig, SpikeConfig, VanishingConfig
from normlab.divergence.detector import Detector
from normlab.divergence.explosion import Explosion
from normlab.divergence.nonfinite import NonFinite
from normlab.divergence.plateau import Plateau
from normlab.divergence.spike import Spike
from normlab.divergence.vanishing import Vanishing
from normlab.tables.row import Row, table


@dataclass(frozen=True, kw_only=True)
class DetectorRow(Row[Any]):
    """A detector. `config` holds the defaults of `divergence.<name>`; None where it has no settings."""

    detector: type[Detector]


DETECTORS: dict[str, DetectorRow] = table(
    DetectorRow(
        option="nonfinite",
        config=None,
        meaning="loss, gradient or parameters are NaN or infinite; names the first in backward order",
        equation="not isfinite(x)",
        detector=NonFinite,
    ),
    DetectorRow(
        option="spike",
        config=SpikeConfig(),
        meaning="the loss or the gradient norm far above its own recent past, without its trend",
        equation="(x - expected) / (1.4826 * MAD) > 8 in the last 64 accepted values; log x of gradients",
        source="robust z-score after Iglewicz, Hoaglin 1993; for spike scores, OLMo 2, arXiv 2501.00656",
        detector=Spike,
    ),
    DetectorRow(
        option="explosion",
        config=ExplosionConfig(),
        meaning="the loss above its start, for long",
        equation="loss > loss_0 + 0.1 nat for 50 steps on end",
        detector=Explosion,
    ),
    DetectorRow(
        option="plateau",
        config=PlateauConfig(),
        meaning="after warm-up and grace the loss stands at the unigram entropy: only frequencies are learnt",
        equation="|median_50(loss) - H_1| <= 0.1 nat, and flat; H_1 = -sum_c p(c) ln p(c)",
        detector=Plateau,
    ),
    DetectorRow(
        option="vanishing",
        config=VanishingConfig(),
        meaning="a layer's gradient is so small that the optimizer's eps holds its updates back",
        equation="||g|| / sqrt(n) < 10 * eps for 20 steps on end after the warm-up",
        source="Wortsman et al. 2023, section 3.4, arXiv 2309.14322",
        detector=Vanishing,
    ),
)
#: The kinds of event.
KINDS = tuple(DETECTORS)
