"""Placements: where norms and scales sit around a sub-layer f. Rows of `PlacementConfig`, nothing else.

In the equations f is the attention or feed-forward branch, A and F are the two by name, l is the block
(from 1) and s the sub-layer (from 1).
"""

from typing import Any

from normlab.catalogue.inits import GAINS
from normlab.catalogue.placement_row import PlacementRow
from normlab.config import ExceptionConfig, PlacementConfig, ScaleConfig
from normlab.config.row import table


def _own(name: str) -> dict[str, str]:
    """The gains on initial weights that belong to a placement: the table of its name in `init.gains`."""
    return dict(GAINS[name].config.gain)


def _at(where: str = "1", sublayer: str = "both", /, **fields: Any) -> ExceptionConfig:
    return ExceptionConfig(where=where, sublayer=sublayer, set=fields)


PLACEMENTS: dict[str, PlacementRow] = table(
    PlacementRow(
        config=PlacementConfig(name="post", norm_post=True),
        meaning="norm after the residual sum; deep stacks need warm-up",
        equation="x' = N(x + f(x))",
        source="Vaswani et al. 2017, arXiv 1706.03762; Xiong et al. 2020, arXiv 2002.04745",
        warmup="yes",
        warmup_measured="yes",
    ),
    PlacementRow(
        config=PlacementConfig(name="pre", norm_in=True, final_norm=True),
        meaning="norm before each sub-layer, and one before the head; the stream grows with depth",
        equation="x' = x + f(N(x))",
        source="Baevski, Auli 2018, arXiv 1809.10853; Xiong et al. 2020, arXiv 2002.04745",
        warmup="no",
        warmup_measured="no",
    ),
    PlacementRow(
        config=PlacementConfig(name="pre_nofinal", norm_in=True),
        meaning="pre without the norm before the head: what that norm is for",
        equation="x' = x + f(N(x)), logits = head(x)",
    ),
    PlacementRow(
        config=PlacementConfig(name="sandwich", norm_in=True, norm_out=True, final_norm=True),
        meaning="norm before and after each sub-layer, inside the branch",
        equation="x' = x + N_out(f(N_in(x)))",
        source="Ding et al. 2021 (CogView), arXiv 2105.13290",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="peri", norm_in=True, norm_out=True, embedding_norm=True, final_norm=True
        ),
        meaning="sandwich with a norm on the embeddings",
        equation="x' = x + N_out(f(N_in(x))), x_0 = N(embedding)",
        source="Kim et al. 2025, arXiv 2502.02732",
    ),
    PlacementRow(
        config=PlacementConfig(name="res_post", norm_out=True, final_norm=True),
        meaning="norm on the branch's output; the branch reads the bare stream",
        equation="x' = x + N_out(f(x))",
        source="Liu et al. 2021 (Swin v2), arXiv 2111.09883",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="swin_v2", norm_out=True, norm_out_gain=0.0, cosine=True, final_norm=True
        ),
        meaning="res_post whose out-norms start at gain 0, with cosine attention; without the norm on the "
        "stream after every sixth block of its largest models",
        equation="x' = x + N_out(f(x)), gain 0 at the start; logits tau cos(q, k), tau = 10 first, <= 100",
        source="Liu et al. 2021 (Swin v2), arXiv 2111.09883; microsoft/Swin-Transformer",
    ),
    PlacementRow(
        config=PlacementConfig(name="olmo2", norm_out=True, qk_norm="width", final_norm=True),
        meaning="res_post with a norm over all queries and all keys, which it needs",
        equation="x' = x + N_out(f(x)), q and k normed over the width",
        source="OLMo 2 2024, arXiv 2501.00656",
    ),
    PlacementRow(
        config=PlacementConfig(name="qk_norm", norm_in=True, qk_norm="head", final_norm=True),
        meaning="pre with a norm of each head's queries and keys: attention logits stay bounded",
        equation="x' = x + f(N(x)), q = N_q(q), k = N_k(k) in each head",
        source="Henry et al. 2020, arXiv 2010.04245; Dehghani et al. 2023, arXiv 2302.05442",
    ),
    PlacementRow(
        config=PlacementConfig(name="pre_embnorm", norm_in=True, embedding_norm=True, final_norm=True),
        meaning="pre with a norm on the embeddings",
        equation="x' = x + f(N(x)), x_0 = N(embedding)",
        source="Le Scao et al. 2022 (BLOOM), arXiv 2211.05100",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="subln",
            norm_in=True,
            mid_norm=True,
            final_norm=True,
            gains=_own("subln"),
        ),
        meaning="pre with a second norm before each output projection, and larger initial branches",
        equation="x' = x + W_out N_mid(g(N(x))), f = W_out g; gains sqrt(ln(2 depth)) on v, out, ffn",
        source="Wang et al. 2022 (Magneto), arXiv 2210.06423",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="normformer",
            norm_in=True,
            final_norm=True,
            exceptions=[
                _at("1", "attn", norm_out=True, head_scale=True),
                _at("1", "ffn", mid_norm=True, skip_scale={"learn": "vector"}),
            ],
        ),
        meaning="pre with norms after attention and inside the feed-forward layer, and head scales",
        equation="x' = x + N_out(A(N(x))) with a factor a head; x' = lam * x + W_out N_mid(phi(W_in N(x)))",
        source="Shleifer et al. 2021, arXiv 2110.09456",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="deepnorm",
            norm_post=True,
            skip_scale=ScaleConfig(value="(2*depth)**(1/4)"),
            gains=_own("deepnorm"),
        ),
        meaning="post with a larger skip and smaller initial branches; bounds the update",
        equation="x' = N(alpha * x + f(x)), alpha = (2 depth)^(1/4), beta = (8 depth)^(-1/4) on v, out, ffn",
        source="Wang et al. 2022, arXiv 2203.00555 (decoder-only constants)",
        warmup="yes",
        warmup_measured="no",
        init="xavier_normal",
        preset="deepnet",
        architecture="decoder or encoder alone",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="deepnorm_ed_encoder",
            norm_post=True,
            parameters={"ratio": 1.0},
            skip_scale=ScaleConfig(value="0.81*(ratio*depth**5)**(1/16)"),
            gains=dict.fromkeys(_own("deepnorm"), "0.87*(ratio*depth**5)**(-1/16)"),
        ),
        meaning="DeepNorm's constants for the encoder in an encoder-decoder; its decoder has ratio times as "
        "many blocks",
        equation="x' = N(alpha * x + f(x)), alpha = 0.81 (N^4 M)^(1/16), beta = 0.87 (N^4 M)^(-1/16) on v, "
        "out, ffn; N = depth, M = ratio N",
        source="Wang et al. 2022, arXiv 2203.00555",
        warmup="yes",
        init="xavier_normal",
        architecture="encoder of an encoder-decoder",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="deepnorm_ed_decoder",
            norm_post=True,
            skip_scale=ScaleConfig(value="(3*depth)**(1/4)"),
            gains=dict.fromkeys(_own("deepnorm"), "(12*depth)**(-1/4)"),
        ),
        meaning="DeepNorm's constants for the decoder in an encoder-decoder, of three branches a block; here "
        "it has two, as there is no encoder to look at",
        equation="x' = N(alpha * x + f(x)), alpha = (3 depth)^(1/4), beta = (12 depth)^(-1/4) on v, out, ffn",
        source="Wang et al. 2022, arXiv 2203.00555",
        warmup="yes",
        init="xavier_normal",
        architecture="decoder of an encoder-decoder",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="deepnorm_glm",
            norm_in=True,
            skip="norm_in",
            final_norm=True,
            skip_scale=ScaleConfig(value="(2*depth)**(1/2)"),
            gains=_own("deepnorm_glm"),
        ),
        meaning="DeepNorm as GLM-130B and ChatGLM have it: larger constants, the norm written first",
        equation="x' = alpha * N(x) + f(N(x)), alpha = (2 depth)^(1/2), gains 1/alpha on v, out, ffn",
        source="Zeng et al. 2022 (GLM-130B), arXiv 2210.02414",
        warmup="yes",
        init="xavier_normal",
        preset="glm130b",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="deepnorm_inverted",
            norm_post=True,
            skip_scale=ScaleConfig(value="2.828"),
            gains=_own("deepnorm_inverted"),
        ),
        meaning="the published bug: DeepNorm with its gain upside down and one alpha for every depth",
        equation="x' = N(2.828 * x + f(x)), gains (8 depth)^(+1/4) on v, out, ffn",
        source="public code of Mix-LN (arXiv 2412.13795) and LayerNorm-Scaling (2502.05795)",
    ),
    PlacementRow(
        config=PlacementConfig(name="post_ln_init", norm_post=True, gains=_own("post_ln_init")),
        meaning="post with smaller weights in lower blocks",
        equation="x' = N(x + f(x)), gains 1/(depth - l + 1) on every matrix",
        source="Wang et al. 2022, arXiv 2203.00555, section 3",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="admin_const",
            norm_post=True,
            skip_scale=ScaleConfig(value="sqrt((sublayers+1)/log(sublayers+1) - 1)"),
        ),
        meaning="post with one constant skip from the number of sub-layers, unprofiled",
        equation="x' = N(omega * x + f(x)), omega = sqrt((S+1)/ln(S+1) - 1), S = 2 depth",
        source="Liu et al. 2020, arXiv 2004.08249; microsoft/admin-torch",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="keel", norm_in=True, norm_post=True, skip_scale=ScaleConfig(value="sublayers")
        ),
        meaning="post with a skip as large as the number of sub-layers and a norm before each branch",
        equation="x' = N_post(alpha * x + f(N_in(x))), alpha = 2 depth",
        source="Chen, Wei 2026, arXiv 2601.19895",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="branchnorm",
            norm_post=True,
            parameters={"ramp": 1000.0},
            branch_scale=ScaleConfig(value="min(step/ramp, 1)"),
        ),
        meaning="post whose branches fade in over the first steps",
        equation="x' = N(x + b_t f(x)), b_t = min(t / ramp, 1)",
        source="Liu et al. 2023, arXiv 2305.02790",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="prores",
            norm_in=True,
            final_norm=True,
            parameters={"ramp": 1000.0},
            branch_scale=ScaleConfig(value="min(step/(ramp*layer), 1)"),
        ),
        meaning="pre whose branches fade in over the steps, lower blocks first",
        equation="x' = x + b_lt f(N(x)), b_lt = min(t / (ramp l), 1)",
        source="Chen et al. 2026, arXiv 2603.05369",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="mix_ln",
            norm_in=True,
            final_norm=True,
            parameters={"fraction": 0.25},
            exceptions=[_at("layer <= floor(fraction*depth)", norm_in=False, norm_post=True)],
        ),
        meaning="post in the lower part of the blocks, pre in the rest",
        equation="x' = N(x + f(x)) up to l = floor(fraction depth), then x' = x + f(N(x))",
        source="Li et al. 2024, arXiv 2412.13795",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="lns", norm_in=True, final_norm=True, in_scale=ScaleConfig(value="layer**-0.5")
        ),
        meaning="LayerNorm-Scaling: pre whose normed input shrinks with the block's place",
        equation="x' = x + f(N(x) / sqrt(l))",
        source="Sun et al. 2025, arXiv 2502.05795",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="hybridnorm",
            qk_norm="head",
            v_norm="head",
            final_norm=True,
            exceptions=[_at("1", "ffn", norm_in=True, skip="norm_in")],
        ),
        meaning="norms on queries, keys and values, and the feed-forward's norm on the skip too",
        equation="y = x + A(x) with q, k, v normed in each head; x' = N(y) + F(N(y))",
        source="Zhuo et al. 2025, arXiv 2503.04598",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="hybridnorm_star",
            qk_norm="head",
            v_norm="head",
            final_norm=True,
            exceptions=[
                _at("1", "ffn", norm_in=True, skip="norm_in"),
                _at("layer == 1", "attn", norm_in=True),
                _at("layer == 1", "ffn", skip="x"),
            ],
        ),
        meaning="hybridnorm whose first block is pre",
        equation="as hybridnorm; block 1: y = x + A(N(x)), x' = y + F(N(y))",
        source="Zhuo et al. 2025, arXiv 2503.04598",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="parallel_shared",
            norm_in=True,
            final_norm=True,
            exceptions=[_at("1", "ffn", reads="block", shared_norm=True)],
        ),
        meaning="both branches read one norm of the block's input (GPT-J, PaLM, Falcon-7B)",
        equation="x' = x + A(N(x)) + F(N(x))",
        source="Wang, Komatsuzaki 2021 (GPT-J); Chowdhery et al. 2022 (PaLM), arXiv 2204.02311",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="parallel_two", norm_in=True, final_norm=True, exceptions=[_at("1", "ffn", reads="block")]
        ),
        meaning="both branches read the block's input, each through its own norm (NeoX, Pythia)",
        equation="x' = x + A(N_1(x)) + F(N_2(x))",
        source="Black et al. 2022 (GPT-NeoX), arXiv 2204.06745",
    ),
    PlacementRow(
        config=PlacementConfig(name="gemma2", norm_in=True, norm_out=True, final_norm=True, softcap=50.0),
        meaning="sandwich with capped attention logits; the logits' cap is model.logit_softcap",
        equation="x' = x + N_out(f(N_in(x))), attention logits 50 tanh(./50)",
        source="Gemma 2 2024, arXiv 2408.00118",
    ),
    PlacementRow(
        config=PlacementConfig(name="gemma3", norm_in=True, norm_out=True, final_norm=True, qk_norm="head"),
        meaning="sandwich with a norm of each head's queries and keys",
        equation="x' = x + N_out(f(N_in(x))), q and k normed in each head",
        source="Gemma 3 2025, arXiv 2503.19786",
    ),
    PlacementRow(
        config=PlacementConfig(name="grok1", norm_in=True, norm_out=True, final_norm=True, softcap=30.0),
        meaning="sandwich with capped attention logits",
        equation="x' = x + N_out(f(N_in(x))), attention logits 30 tanh(./30)",
        source="xai-org/grok-1 2024",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="b2t", norm_post=True, exceptions=[_at("1", "ffn", skip="block")], gains=_own("b2t")
        ),
        meaning="post with a path around each block's first norm (bottom-to-top connection), and the smaller "
        "weights that its code always has with it",
        equation="y = N(x + A(x)), x' = N(x + y + F(y)); gains depth^(-1/2) on every matrix",
        source="Takase et al. 2022, arXiv 2206.00330; takase/b2t_connection",
    ),
    PlacementRow(
        config=PlacementConfig(name="gpas", norm_in=True, final_norm=True, gpas="stream"),
        meaning="pre whose stream is shrunk by a learned gate that the gradient does not see",
        equation="z = x + f(N(x)), x' = z - silu(g) * sg(z), one g a block, 0 at the start",
        source="Chen et al. 2025, arXiv 2506.22049",
    ),
    PlacementRow(
        config=PlacementConfig(name="residual_dual", norm_post=True, second_stream=True, final_norm=True),
        meaning="ResiDual: post, with a second stream of bare branch outputs that joins it before the head",
        equation="x' = N(x + f(x)), y' = y + rho * f(x), out = x + N(y)",
        source="Xie et al. 2023, arXiv 2304.14802",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="siamese",
            norm_in=True,
            norm_post=True,
            reads="both",
            branch_scale=ScaleConfig(value="(2*layer)**(-1/2)"),
            second_stream=True,
            first_norm=True,
            final_norm=True,
            joint_norm=True,
        ),
        meaning="SiameseNorm: a post and a pre stream side by side; branches read a norm of both, and the "
        "post stream takes less of the upper ones. As the released models have it",
        equation="o = f(N_in(x + N_y(y))), x' = N_x(x + o / sqrt(2 l)), y' = y + o, x_0 = N_x(y_0), "
        "out = N_f(x + N_y(y))",
        source="Li et al. 2026, arXiv 2602.08064; Qwen-Applications/SiameseNorm",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="siamese_bare", norm_post=True, reads="both", second_stream=True, final_norm=True
        ),
        meaning="siamese without its norm before the branch, its factor and its last norm: not the method",
        equation="o = f(x + N_y(y)), x' = N_x(x + o), y' = y + o, out = x + N_y(y)",
        source="the two streams of Li et al. 2026, arXiv 2602.08064, by themselves",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="admin",
            norm_post=True,
            skip_scale=ScaleConfig(learn="vector"),
            profile=True,
            unit_embedding=True,
        ),
        meaning="post whose skips grow with the variance that the branches before have added, then learn",
        equation="x' = N(w_s * x + f(x)), w_1 = 1, w_(s+1)^2 = Var(w_s x) + Var(f_s) on the first batch; "
        "x_0 = E / std(E) + P",
        source="Liu et al. 2020, arXiv 2004.08249; LiyuanLucasLiu/Transformer-Clinic",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="sigma_reparam", norm_post=True, weights="sigma_reparam", sigma_head=True
        ),
        meaning="post whose matrices are divided by their spectral norm, with a learned factor each",
        equation="x' = N(x + f(x)), W -> gamma / sigma(W) * W in every linear layer, the head among them",
        source="Zhai et al. 2023, arXiv 2303.06296; apple/ml-sigma-reparam",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="ngpt",
            norm_out=True,
            norm_post=True,
            qk_norm="head",
            qk_scale=True,
            hidden_scale=True,
            head_gain=True,
            weights="unit",
            skip_scale=ScaleConfig(tie=True),
            branch_scale=ScaleConfig(value="0.05", learn="vector", stored="width**-0.5"),
        ),
        meaning="the stream and every weight vector on the unit sphere; made for norm=l2norm. By the paper: "
        "the released code norms x again where it enters the sum, which changes nothing at length 1, that is "
        "with model.positions=rope or none",
        equation="x' = N(x + a (N(f(x)) - x)), a = 0.05 at the start; |W| = 1 along the width",
        source="Loshchilov et al. 2024 (nGPT), arXiv 2410.01131",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="rezero",
            branch_scale=ScaleConfig(value="0", learn="scalar", share="block"),
            unit_embedding=True,
        ),
        meaning="no norm; each block's branches start at zero behind one learned scalar",
        equation="x' = x + b * f(x), b = 0 at the start; x_0 = E / std(E) + P",
        source="Bachlechner et al. 2020, arXiv 2003.04887",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="skipinit", branch_scale=ScaleConfig(value="0", learn="scalar"), unit_embedding=True
        ),
        meaning="no norm; each branch starts at zero behind a learned scalar of its own",
        equation="x' = x + b_s * f(x), b_s = 0 at the start; x_0 = E / std(E) + P",
        source="De, Smith 2020, arXiv 2002.10444",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="layerscale",
            norm_in=True,
            final_norm=True,
            branch_scale=ScaleConfig(
                value="max(1e-1*(depth <= 18), 1e-5*(depth <= 24), 1e-6)", learn="vector"
            ),
        ),
        meaning="pre whose branches start small behind a learned factor a channel",
        equation="x' = x + lam * f(N(x)), lam = 0.1 up to 18 blocks, 1e-5 up to 24, then 1e-6",
        source="Touvron et al. 2021 (CaiT), arXiv 2103.17239",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="fixup",
            branch_scale=ScaleConfig(learn="scalar"),
            scalar_biases=True,
            gains=_own("fixup"),
            unit_embedding=True,
        ),
        meaning="no norm; branches start at zero by their last matrix, with a scalar bias before each linear "
        "layer and activation. Its released transformer has none before attention's output projection",
        equation="x' = x + b_s * f(x), b_s = 1 at the start; gains 0 on out and head, S^(-1/6) on q, k, v, "
        "S^(-1/2) on ffn.in, S = 2 depth; x_0 = E / std(E) + P",
        source="Zhang et al. 2019, arXiv 1901.09321; hongyi-zhang/Fixup",
        warmup="no",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="tfixup",
            gains=_own("tfixup"),
            unit_embedding=True,
        ),
        meaning="no norm, no warm-up: only smaller weights (the encoder's rule: two sub-layers a block)",
        equation="x' = x + f(x), gains 0.67 depth^(-1/4) on v, out, ffn and (9 depth)^(-1/4) on embeddings; "
        "E at std 1 before that gain",
        source="Huang et al. 2020 (T-Fixup, ICML); layer6ai-labs/T-Fixup",
        warmup="no",
        init="xavier_normal",
    ),
    PlacementRow(
        config=PlacementConfig(name="ds_init", norm_post=True, gains=_own("ds_init")),
        meaning="post with weights that shrink with the block's place",
        equation="x' = N(x + f(x)), gains l^(-1/2) on every matrix",
        source="Zhang et al. 2019, arXiv 1908.11365",
    ),
    PlacementRow(
        config=PlacementConfig(
            name="stable_res",
            norm_in=True,
            final_norm=True,
            branch_scale=ScaleConfig(value="sublayers**(-1/2)"),
        ),
        meaning="pre with branches smaller by their number: the stream does not grow with depth (Stable "
        "ResNet, depth-muP)",
        equation="x' = x + f(N(x)) / sqrt(S), S = 2 depth branches",
        source="Hayou et al. 2021, arXiv 2010.12859; Yang et al. 2023, arXiv 2310.02244",
    ),
    PlacementRow(
        config=PlacementConfig(name="none", unit_embedding=True),
        meaning="bare residual sub-layers without any norm: the control, its embedding as large as theirs",
        equation="x' = x + f(x); x_0 = E / std(E) + P",
    ),
)
