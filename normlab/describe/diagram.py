"""A block drawn with characters: the stream runs down on the left, branches leave it and come back.

Every line of the drawing follows from the record of the sub-layers; there is no drawing of a placement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normlab.catalogue.activations import ACTIVATIONS
from normlab.config import RunConfig, SublayerConfig
from normlab.describe import equations
from normlab.describe.blocks import BlockRange, Part, number
from normlab.describe.canvas import Canvas, CanvasColumn, half_width

#: What is in a box, line by line.
Box = tuple[str, ...]
_PLUS = "⊕"
_GAP = 2


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """What a sub-layer has on its paths, each from above down."""

    #: On the stream before the branch leaves it.
    before: list[Box]
    #: On the skip path, beside the branch.
    skip: list[Box]
    #: In the branch, up to where the second stream takes its output.
    branch: list[Box]
    #: In the branch after that.
    tail: list[Box]
    #: On the stream after the sum.
    after: list[Box]


def boxes(config: RunConfig, part: Part) -> Boxes:
    """The boxes of a sub-layer, in the order of `model.residual.Residual`."""
    record, names = part.record, equations.norm_names(part.record)

    def norm(field: str, wanted: bool) -> list[Box]:
        return [(names[field],)] if wanted else []

    def scale(field: str) -> list[Box]:
        return [(f"* {part.factors[field].text}",)] if field in part.factors else []

    def gpas(where: str) -> list[Box]:
        return [("GPAS",)] if record.gpas == where else []

    on_stream = record.skip == "norm_in"
    inside = attention(config, record) if part.place == 0 else feed_forward(config, record)
    dropout: list[Box] = [(f"dropout {number(config.model.dropout)}",)] if config.model.dropout else []
    own = record.norm_in and not on_stream and not _takes_norm(part)
    return Boxes(
        before=norm("norm_in", on_stream),
        skip=gpas("skip") + scale("skip_scale"),
        branch=norm("norm_in", own)
        + scale("in_scale")
        + [inside]
        + norm("norm_out", record.norm_out)
        + dropout,
        tail=scale("branch_scale"),
        after=norm("norm_post", record.norm_post) + gpas("stream"),
    )


def _takes_norm(part: Part) -> bool:
    """Whether its N_in is attention's."""
    return part.record.shared_norm and part.place == 1


def attention(config: RunConfig, record: SublayerConfig) -> Box:
    """Attention and what is inside it besides the usual, in the order of `model.attention.Attention`."""
    model = config.model
    fewer = model.kv_width // model.head_width
    inside = {
        "in both directions": not model.causal,
        f"{fewer} heads of k, v": model.kv_width != model.width,
        "N on q, k a head": record.qk_norm == "head",
        "N on all q, all k": record.qk_norm == "width",
        "rope on q, k": model.positions == "rope",
        "* s on q, k": record.qk_scale,
        "logits tau cos(q, k)": record.cosine,
        f"logits capped at {number(record.softcap)}": record.softcap > 0,
        "ALiBi on logits": model.positions == "alibi",
        "N on v a head": record.v_norm != "none",
        "* s on each head": record.head_scale,
        "N before W_out": record.mid_norm,
        "+ c at W_qkv, W_out": record.scalar_biases,
    }
    return ("attention", *_that_are(inside))


def feed_forward(config: RunConfig, record: SublayerConfig) -> Box:
    """The feed-forward layer and what is inside it, in the order of `model.ffn.FeedForward`."""
    gated = ACTIVATIONS[config.activation.name].gated
    inside = {
        "* s, * g on hidden" if gated else "* s on hidden": record.hidden_scale,
        "N before W_out": record.mid_norm,
        "+ c at W_in, act, W_out": record.scalar_biases,
    }
    return ("feed-forward", config.activation.name, *_that_are(inside))


def _that_are(lines: Mapping[str, bool]) -> list[str]:
    return [line for line, there in lines.items() if there]


@dataclass(frozen=True, kw_only=True)
class DiagramLayout:
    """The columns, and how wide what stands on them is."""

    rail: int
    stream: int
    branch: int
    #: The second branch of parallel sub-layers.
    other: int
    second: int


def _layout(config: RunConfig, group: BlockRange, drawn: Sequence[Boxes]) -> DiagramLayout:
    def reach(paths: Sequence[list[Box]]) -> int:
        return max([half_width(box) for path in paths for box in path] or [0])

    rail = any(part.record.skip == "block" for part in group.parts)
    left = max(reach([path for each in drawn for path in (each.before, each.skip, each.after)]), 1)
    stream = left + (2 if rail else 0)
    widths = [reach([each.branch, each.tail]) for each in drawn]
    first = widths[0] if parallel(config, group) else max(widths)
    branch = stream + left + _GAP + first
    other = branch + first + _GAP + widths[1]
    edge = branch + first
    second = edge + _GAP + max(2 * half_width(_rho_box(config)), 2 * half_width(("N_y",))) + _GAP
    return DiagramLayout(rail=0, stream=stream, branch=branch, other=other, second=second)


def parallel(config: RunConfig, group: BlockRange) -> bool:
    """Whether the feed-forward branch is drawn beside attention's: both read what the block was given.

    With a second stream at the right there is no room beside: then the branch begins with a name instead.
    """
    return group.parts[1].record.reads == "block" and not config.placement.second_stream


def _rho_box(config: RunConfig) -> Box:
    rho = equations.rho(config)
    return () if rho == 1 else (f"* {number(rho)}",)


class Drawing:
    """One block of a group on a canvas."""

    def __init__(self, config: RunConfig, group: BlockRange) -> None:
        self.config, self.group = config, group
        self.drawn = [boxes(config, part) for part in group.parts]
        self.at = _layout(config, group, self.drawn)
        self.canvas = Canvas()
        self.stream = CanvasColumn(self.canvas, self.at.stream, 1)
        self.second = CanvasColumn(self.canvas, self.at.second, 1)
        self.rail = CanvasColumn(self.canvas, self.at.rail, 1)

    def lines(self) -> list[str]:
        """The drawing."""
        self.canvas.write(0, self.at.stream, "x")
        if self.config.placement.second_stream:
            self.canvas.write(0, self.at.second, "y")
        self._rail()
        if parallel(self.config, self.group):
            self._side_by_side()
        else:
            for part, drawn in zip(self.group.parts, self.drawn, strict=True):
                self._sublayer(part, drawn)
        end = self.stream.step() + 1
        self.canvas.write(end, self.at.stream + 1, "x'")
        if self.config.placement.second_stream:
            self.second.to(end - 1)
            self.canvas.write(end, self.at.second + 1, "y'")
        return self.canvas.lines()

    def _rail(self) -> None:
        """The path of what the block was given to where a skip takes it up."""
        if any(part.record.skip == "block" for part in self.group.parts):
            row = self.stream.step()
            self.canvas.across(row, self.at.rail, self.at.stream)
            self.rail.end = row

    def _sublayer(self, part: Part, drawn: Boxes) -> None:
        self.stream.boxes(drawn.before)
        branch = self._leave(part)
        self._skip(part, drawn)
        branch.boxes(drawn.branch)
        if self.config.placement.second_stream:
            self._carry(branch)
        branch.boxes(drawn.tail)
        self._join(branch)
        self.stream.boxes(drawn.after)

    def _leave(self, part: Part) -> CanvasColumn:
        """The branch's column, from where it takes what it reads."""
        row = self.stream.step()
        branch = CanvasColumn(self.canvas, self.at.branch, row)
        if part.record.reads == "both":
            row = self.stream.step()
            branch.end = row
            self._link(row, self.at.second, (equations.norm_names(part.record)["reads"],))
            self.second.to(row)
            self.canvas.write(row, self.at.branch, _PLUS)
        if equations.read_text(part) == "x_block":
            self.canvas.write(row, self.at.branch, "x_block")
        else:
            self.canvas.across(row, self.at.stream, self.at.branch)
        return branch

    def _link(self, row: int, column: int, box: Box) -> None:
        """A line between the branch and another column, with a box on it if there is one."""
        if not box:
            self.canvas.across(row, self.at.branch, column)
            return
        reach = half_width(box)
        center = column - _GAP - reach
        self.canvas.across(row, self.at.branch, center - reach)
        self.canvas.across(row, center + reach, column)
        self.canvas.box(row - 1, center, box)

    def _carry(self, branch: CanvasColumn) -> None:
        """The branch's output to the second stream."""
        box = _rho_box(self.config)
        row = branch.step() if not box else (branch.step(), branch.step())[1]
        self._link(row, self.at.second, box)
        self.second.to(row)
        self.canvas.write(row, self.at.second, _PLUS)

    def _skip(self, part: Part, drawn: Boxes) -> None:
        """What is on the stream beside the branch."""
        if part.record.skip == "block":
            row = self.stream.step()
            self.rail.to(row)
            self.canvas.across(row, self.at.rail, self.at.stream)
            self.canvas.write(row, self.at.stream, _PLUS)
        self.stream.boxes(drawn.skip)

    def _join(self, branch: CanvasColumn) -> None:
        """The sum of the stream and a branch."""
        row = max(self.stream.end, branch.end) + 1
        self.stream.to(row)
        branch.to(row)
        self.canvas.across(row, self.at.stream, branch.center)
        self.canvas.write(row, self.at.stream, _PLUS)

    def _side_by_side(self) -> None:
        """Both branches read what the block was given; the feed-forward's is added last."""
        (attn, ffn), (first, then) = self.group.parts, self.drawn
        shared = _takes_norm(ffn)
        other = CanvasColumn(self.canvas, self.at.other, 0)
        if not shared:
            other.end = self.stream.step()
            self.canvas.across(other.end, self.at.stream, self.at.other)
        self.stream.boxes(first.before)
        if shared and first.before:
            other.end = self.stream.step()
            self.canvas.across(other.end, self.at.stream, self.at.other)
        branch = self._leave(attn)
        self._skip(attn, first)
        if shared and not first.before:
            branch.box(first.branch[0])
            other.end = branch.step()
            self.canvas.across(other.end, self.at.branch, self.at.other)
        branch.boxes(first.branch[1:] if shared and not first.before else first.branch)
        branch.boxes(first.tail)
        other.boxes([*then.branch, *then.tail])
        self._join(branch)
        self.stream.boxes(first.after)
        self._skip(ffn, then)
        self._join(other)
        self.stream.boxes(then.after)


def draw(config: RunConfig, group: BlockRange) -> list[str]:
    """One block of `group`, line by line."""
    return Drawing(config, group).lines()
