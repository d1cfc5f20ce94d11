"""The detectors: one row each, in the order in which they see a row."""

from dataclasses import dataclass
from typing import Any

from normlab.config import (
    EntropyCollapseConfig,
    ExplosionConfig,
    FrozenConfig,
    LogitGrowthConfig,
    MassiveActivationConfig,
    PlateauConfig,
    SlowDivergenceConfig,
    SpikeConfig,
    VanishingConfig,
)
from normlab.config.row import Row, table
from normlab.divergence.detector import Detector
from normlab.divergence.entropy_collapse import EntropyCollapse
from normlab.divergence.explosion import Explosion
from normlab.divergence.frozen import Frozen
from normlab.divergence.logit_growth import LogitGrowth
from normlab.divergence.massive_activation import MassiveActivation
from normlab.divergence.nonfinite import NonFinite
from normlab.divergence.plateau import Plateau
from normlab.divergence.slow_divergence import SlowDivergence
from normlab.divergence.spike import Spike
from normlab.divergence.vanishing import Vanishing


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
        meaning="loss, gradient norm, one place's gradient or the rate far above its own recent past",
        equation=(
            "(x - expected) / (1.4826 * MAD) > 10 in the last 64 accepted values, or more where losses have "
            "a heavy tail; log x but of losses; in the first 16 steps 1 nat, 8 times; one place: 4 times"
        ),
        source="robust z-score after Iglewicz, Hoaglin 1993; tails after Siffer et al. 2017 (SPOT); "
        "for spike scores, OLMo 2, arXiv 2501.00656",
        detector=Spike,
    ),
    DetectorRow(
        option="explosion",
        config=ExplosionConfig(),
        meaning="the loss above a guess among all tokens, for long",
        equation="loss > ln V + 0.1 nat for 50 consecutive steps, or half of a shorter run",
        detector=Explosion,
    ),
    DetectorRow(
        option="slow_divergence",
        config=SlowDivergenceConfig(),
        meaning="the loss has risen from the best it has been, slowly or by a jump too small to be a spike",
        equation="m - min(m) > max(0.1 nat, 6 standard errors) for 25 consecutive steps; "
        "m = median_50(loss); or 0.5 nat for 16; m = median_16(loss)",
        detector=SlowDivergence,
    ),
    DetectorRow(
        option="plateau",
        config=PlateauConfig(),
        meaning="after warm-up and grace the loss stands still at an entropy of the text",
        equation="m = median_50(loss) flat, |m - H_1| <= 0.1 nat or m >= ln V - 0.1; else above "
        "H_1 - 0.2, flat for 150; |m - H_2| <= 0.1, flat for 300",
        detector=Plateau,
    ),
    DetectorRow(
        option="vanishing",
        config=VanishingConfig(),
        meaning="a layer's gradient, after clipping, is so small that the optimizer's step all but ends",
        equation=(
            "for 20 consecutive steps after the warm-up; adam, adamw: ||g|| / sqrt(n) < 10 * eps; muon: the "
            "same outside the blocks, ||g|| < 10 * 1e-7 / 3.44^iterations for their matrices; sgd: "
            "lr ||g|| / (1 - momentum) < 10 * 2^-23 ||W||; lion: ||g|| / sqrt(n) < "
            "10 * 2^-126 / (1 - max(betas))"
        ),
        source="Wortsman et al. 2023, section 3.4, arXiv 2309.14322",
        detector=Vanishing,
    ),
    DetectorRow(
        option="frozen",
        config=FrozenConfig(),
        meaning="a place's gradient, or its update, is exactly 0: nothing is learnt there",
        equation="||g|| = 0 or ||dW|| / ||W|| = 0 for 20 consecutive steps",
        detector=Frozen,
    ),
    DetectorRow(
        option="entropy_collapse",
        config=EntropyCollapseConfig(),
        meaning="a head of a layer looks at one token only",
        equation="least head's mean over rows of H(softmax row i) / ln(i + 1) < 0.05 "
        "for 20 consecutive steps",
        source="Zhai et al. 2023, arXiv 2303.06296",
        detector=EntropyCollapse,
    ),
    DetectorRow(
        option="logit_growth",
        config=LogitGrowthConfig(),
        meaning="a layer's attention logits grow without bound",
        equation="max q.k / sqrt(K) > 1000 for 20 consecutive steps",
        source="Wortsman et al. 2023, section 3.1, arXiv 2309.14322: harm from 1e3; all above 1e4 diverged",
        detector=LogitGrowth,
    ),
    DetectorRow(
        option="massive_activation",
        config=MassiveActivationConfig(),
        meaning="a few numbers of the residual stream dwarf all others",
        equation="|x| > 100 and > 1000 median |x|, for 20 consecutive steps",
        source="Sun et al. 2024, arXiv 2402.17762",
        detector=MassiveActivation,
    ),
)
#: The kinds of event.
KINDS = tuple(DETECTORS)
