"""Placements: where norms and scales sit around a sub-layer f. Rows of `PlacementConfig`, nothing else."""

from normlab.config import PlacementConfig, ScaleConfig
from normlab.tables.row import Row, table

PLACEMENTS: dict[str, Row[PlacementConfig]] = table(
    Row(
        config=PlacementConfig(name="post", norm_post=True),
        meaning="norm after the residual sum; deep stacks need warm-up",
        equation="x' = N(x + f(x))",
        source="Vaswani et al. 2017, arXiv 1706.03762; Xiong et al. 2020, arXiv 2002.04745",
    ),
    Row(
        config=PlacementConfig(name="pre", norm_in=True, final_norm=True),
        meaning="norm before each sub-layer, and one before the head; the stream grows with depth",
        equation="x' = x + f(N(x))",
        source="Baevski, Auli 2018, arXiv 1809.10853; Xiong et al. 2020, arXiv 2002.04745",
    ),
    Row(
        config=PlacementConfig(name="sandwich", norm_in=True, norm_out=True, final_norm=True),
        meaning="norm before and after each sub-layer, inside the branch",
        equation="x' = x + N_out(f(N_in(x)))",
        source="Ding et al. 2021 (CogView), arXiv 2105.13290",
    ),
    Row(
        config=PlacementConfig(
            name="peri", norm_in=True, norm_out=True, embedding_norm=True, final_norm=True
        ),
        meaning="sandwich with a norm on the embeddings",
        equation="x' = x + N_out(f(N_in(x))), x_0 = N(embedding)",
        source="Kim et al. 2025, arXiv 2502.02732",
    ),
    Row(
        config=PlacementConfig(name="res_post", norm_out=True, final_norm=True),
        meaning="norm on the branch's output; the branch reads the bare stream",
        equation="x' = x + N_out(f(x))",
        source="Liu et al. 2021 (Swin v2), arXiv 2111.09883",
    ),
    Row(
        config=PlacementConfig(
            name="deepnorm",
            norm_post=True,
            skip_scale=ScaleConfig(value="(2*depth)**(1/4)"),
            gains=dict.fromkeys(("attn.v", "attn.out", "ffn.in", "ffn.out"), "(8*depth)**(-1/4)"),
        ),
        meaning="post with a larger skip and smaller initial branches; bounds the update",
        equation="x' = N(alpha * x + f(x)), alpha = (2 depth)^(1/4), beta = (8 depth)^(-1/4) on v, out, ffn",
        source="Wang et al. 2022, arXiv 2203.00555 (decoder-only constants)",
    ),
    Row(
        config=PlacementConfig(
            name="rezero", branch_scale=ScaleConfig(value="0", learn="scalar", share="block")
        ),
        meaning="no norm; each block's branches start at zero behind one learned scalar",
        equation="x' = x + b * f(x), b = 0 at the start",
        source="Bachlechner et al. 2020, arXiv 2003.04887",
    ),
    Row(
        config=PlacementConfig(name="none"),
        meaning="bare residual sub-layers without any norm: the control",
        equation="x' = x + f(x)",
    ),
)
