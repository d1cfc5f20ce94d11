"""The equations that a config really has, put together from its record: sub-layers, branches, the ends."""

import dataclasses
from dataclasses import dataclass

from normlab.catalogue import inits
from normlab.catalogue.activations import ACTIVATIONS
from normlab.config import RunConfig, SublayerConfig, laws
from normlab.describe.blocks import BlockRange, Part, at, number

#: The branches by place.
BRANCHES = ("A", "F")


@dataclass(frozen=True, kw_only=True)
class Equations:
    """Those of one sub-layer, and what their letters mean."""

    lines: tuple[str, ...]
    legends: tuple[str, ...] = ()


def norm_names(record: SublayerConfig) -> dict[str, str]:
    """What each norm of a sub-layer is called, by its field: `N` where there is but one."""
    there = {
        "norm_in": record.norm_in,
        "norm_out": record.norm_out,
        "norm_post": record.norm_post,
        "reads": record.reads == "both",
    }
    wanted = [name for name, wants in there.items() if wants]
    long = {"norm_in": "N_in", "norm_out": "N_out", "norm_post": "N_post", "reads": "N_y"}
    return {name: "N" if len(wanted) == 1 else long[name] for name in wanted}


def rho(config: RunConfig) -> float:
    """What the second stream takes of a branch."""
    return laws.value(config.placement.second_scale, at(config, 1, 0))


def sublayer(config: RunConfig, part: Part) -> Equations:
    """x' of the stream x, as the record composes it."""
    record, names = part.record, norm_names(part.record)
    legends = [factor.legend for factor in part.factors.values() if factor.legend]
    branch = _branch_text(part)
    carry = []
    lines = []
    if config.placement.second_stream:
        lines, branch = [f"o = {branch}"], "o"
        carry = [f"y' = y + {_times(_number_text(rho(config)), 'o')}"]
    total = f"{_skip_text(part)} + {_times(_factor_text(part, 'branch_scale'), branch)}"
    if record.norm_post:
        total = f"{names['norm_post']}({total})"
    if record.gpas == "stream":
        total = f"G({total})"
    lines += [f"x' = {total}", *carry]
    if any("x_block" in line for line in lines):
        legends.append("x_block: what the block was given")
    if record.shared_norm and part.place == 1:
        legends.append(f"{names['norm_in']} here is the one that attention reads through")
    if record.norm_out and record.norm_out_gain != 1:
        legends.append(f"the gain of {names['norm_out']} starts at {number(record.norm_out_gain)}")
    if record.gpas != "none":
        legends.append(
            "G(x) = x - silu(g) * sg(x), sg without gradient; g learned, one a block, 0 at the start"
        )
    return Equations(lines=tuple(lines), legends=tuple(legends))


def _branch_text(part: Part) -> str:
    record, names = part.record, norm_names(part.record)
    inner = _times(_factor_text(part, "in_scale"), read_text(part))
    if record.norm_in:
        inner = _times(_factor_text(part, "in_scale"), f"{names['norm_in']}({read_text(part)})")
    branch = f"{BRANCHES[part.place]}({inner})"
    return f"{names['norm_out']}({branch})" if record.norm_out else branch


def read_text(part: Part) -> str:
    """What the sub-layer reads; in attention, what the block was given is the stream itself."""
    if part.record.reads == "both":
        return f"x + {norm_names(part.record)['reads']}(y)"
    return "x_block" if part.record.reads == "block" and part.place == 1 else "x"


def _skip_text(part: Part) -> str:
    record = part.record
    if record.skip == "norm_in":
        text = f"{norm_names(record)['norm_in']}({read_text(part)})"
    else:
        text = {"x": "x", "block": "x + x_block"}[record.skip]
    if record.gpas == "skip":
        text = f"G({text})"
    return _times(_factor_text(part, "skip_scale"), text)


def _factor_text(part: Part, name: str) -> str:
    return part.factors[name].text if name in part.factors else ""


def _number_text(value: float) -> str:
    return "" if value == 1 else number(value)


def _times(factor: str, text: str) -> str:
    """`factor * text`, a sum in brackets; just the text where there is no factor."""
    if not factor:
        return text
    return f"{factor} * ({text})" if _is_sum(text) else f"{factor} * {text}"


def _is_sum(text: str) -> bool:
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "+" and depth == 0:
            return True
    return False


def attention(config: RunConfig, record: SublayerConfig) -> Equations:
    """A(u), with what the record puts inside."""
    model = config.model
    root = f"* sqrt({model.head_width})" if record.qk_scale else f"/ sqrt({model.head_width})"
    logits = "tau * cos(q, k)" if record.cosine else f"q.k {root}"
    if record.softcap:
        cap = number(record.softcap)
        logits = f"{cap} tanh({logits} / {cap})"
    bias = " - slope * distance" if model.positions == "alibi" else ""
    mixed = ("s_head * " if record.head_scale else "") + f"softmax({logits}{bias}) v"
    mixed = f"N_mid({mixed})" if record.mid_norm else f"({mixed})"
    shifted = record.scalar_biases
    out, u = ("W_out (" + mixed + " + c_out)", "(u + c)") if shifted else (f"W_out {mixed}", "u")
    over = {"none": "", "head": "N", "width": "N"}[record.qk_norm]
    q, k = (f"{over}(W_{letter} {u})" if over else f"W_{letter} {u}" for letter in "qk")
    if model.positions == "rope":
        q, k = f"R({q})", f"R({k})"
    if record.qk_scale:
        q, k = f"s * {q}", f"s * {k}"
    v = f"N(W_v {u})" if record.v_norm != "none" else f"W_v {u}"
    return Equations(
        lines=(f"A(u) = {out}", f"q = {q}, k = {k}, v = {v}"), legends=tuple(_inner(config, record))
    )


def _inner(config: RunConfig, record: SublayerConfig) -> list[str]:
    """What the letters of `attention` mean."""
    model, found = config.model, []
    if not model.causal:
        found.append("softmax over all tokens, in both directions")
    if record.qk_norm != "none":
        found.append(
            {"head": "q and k normed in each head", "width": "q and k normed over all heads"}[record.qk_norm]
        )
    if record.v_norm != "none":
        found.append("v normed in each head")
    if record.cosine:
        found.append("tau: a learned number a head, 10 at the start and at most 100")
    if record.scalar_biases:
        found.append("c and c_out: learned numbers, 0 at the start")
    if record.qk_scale:
        found.append("s: a learned number a channel, the same on q and k, 1 at the start")
    if record.head_scale:
        found.append("s_head: a learned number a head, 1 at the start")
    if model.positions == "rope":
        share = "" if model.rope_fraction == 1 else f" the first {model.rotary_width} channels of"
        found.append(f"R turns{share} each head by its place, base {number(model.rope_base)}")
    if model.positions == "alibi":
        found.append("slope: ALiBi's, one a head")
    if model.kv_width != model.width:
        heads = model.kv_width // model.head_width
        found.append(f"{heads} of {model.heads} heads for k and v")
    return found


def feed_forward(config: RunConfig, record: SublayerConfig) -> Equations:
    """F(u), with what the record puts inside."""
    row = ACTIVATIONS[config.activation.name]
    name = row.function.lower()
    scaled = "s * " if record.hidden_scale else ""
    u, inner = ("(u + c)", " + c_act") if record.scalar_biases else ("u", "")
    hidden = f"{scaled}W_in {u}"
    legends = []
    if row.gated:
        gate = "g * " if record.hidden_scale else ""
        hidden = f"{_called(name, f'{gate}W_gate {u}{inner}')} * ({hidden})"
    else:
        hidden = _called(name, f"{hidden}{inner}")
        settings = dataclasses.asdict(config.activation)
        own = [
            f"{key} {number(value) if isinstance(value, float) else value}"
            for key, value in settings.items()
            if key != "name"
        ]
        legends = ["; ".join([f"{name}(z) = {row.equation}", *own])]
    if record.hidden_scale:
        both = "s and g" if row.gated else "s"
        legends.append(f"{both}: sqrt({config.model.width}) times a learned number a channel, 1 at the start")
    hidden = f"({hidden})" if row.gated and not record.mid_norm else hidden
    hidden = f"N_mid({hidden})" if record.mid_norm else hidden
    if record.scalar_biases:
        hidden = f"({hidden} + c_out)"
        legends.append("c, c_act and c_out: learned numbers, 0 at the start")
    out = f"W_out {hidden}"
    return Equations(lines=(f"F(u) = {out}",), legends=tuple(legends))


def _called(name: str, text: str) -> str:
    return f"({text})" if name == "identity" else f"{name}({text})"


def branches(config: RunConfig, group: BlockRange) -> tuple[Equations, Equations]:
    """A and F in these blocks."""
    attn, ffn = group.parts
    return attention(config, attn.record), feed_forward(config, ffn.record)


def ends(config: RunConfig) -> Equations:
    """How the streams begin, and the logits."""
    model, placement = config.model, config.placement
    where = at(config, 1, 0)
    scale = _number_text(inits.embedding_factor(config))
    out_scale = _number_text(laws.value(model.logit_scale, where))
    start = _times("s" if model.embedding_scale_learn else scale, "E[token]")
    start += {"learned": " + P[t]", "sinusoidal": " + sin/cos[t]"}.get(model.positions, "")
    start = f"N({start})" if placement.embedding_norm else start
    lines = [f"x_0 = {start}"]
    if placement.first_norm:
        lines = [f"e = {start}", "x_0 = N(e)"]
    final = "N(x)" if placement.final_norm else "x"
    final = f"({final} + c)" if placement.scalar_biases else final
    if placement.second_stream:
        first = "e" if placement.first_norm else "x_0"
        lines.append(f"y_0 = {_times(_number_text(rho(config)), first)}")
        final = "N(x + N(y))" if placement.joint_norm else "(x + N(y))"
    head = "E" if model.tie else "W_head"
    logits = _times("s_token" if placement.head_gain else "", f"{head} {final}")
    logits = _times(out_scale, logits)
    if model.logit_softcap:
        cap = number(model.logit_softcap)
        logits = f"{cap} tanh({logits} / {cap})"
    legends = ["s_token: a learned number a token, 1 at the start"] if placement.head_gain else []
    legends += [f"s: a learned number, {scale or 1} at the start"] if model.embedding_scale_learn else []
    legends += ["E: the embedding's matrix, tied"] if model.tie else []
    return Equations(lines=(*lines, f"logits = {logits}"), legends=tuple(legends))
