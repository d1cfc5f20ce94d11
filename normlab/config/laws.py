"""Laws: arithmetic in depth and layer, as text, so that a placement's constants are data.

`(2*depth)**(1/4)` is DeepNorm's alpha; `layer**-0.5` is LayerNorm-Scaling. A law is parsed into a syntax tree
in which only numbers, names, + - * / **, a sign, comparisons (1 or 0) and a few functions are allowed.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import cache

from normlab.errors import nearest, quoted

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
    "min": min,
    "max": max,
    "floor": math.floor,
}
#: What a law may speak of: blocks in all, this block (from 1), sub-layers in all (two a block), this one
#: (from 1), and the model's width.
VARIABLES = ("depth", "layer", "sublayers", "sublayer", "width")
#: Characters of a law.
MOST = 400
#: What only a scale that is not learned may speak of: the training step, from 0.
STEP = "step"


class LawError(ValueError):
    """A law that cannot be read, or has no finite value; the message quotes it."""


def variables(depth: int, width: int, layer: int = 1, place: int = 0) -> dict[str, float]:
    """The variables at block `layer` (from 1), sub-layer `place` of it (0 attention, 1 feed-forward)."""
    return {
        "depth": depth,
        "layer": layer,
        "sublayers": 2 * depth,
        "sublayer": 2 * (layer - 1) + place + 1,
        "width": width,
    }


def is_name(word: str) -> bool:
    """Whether `word` can name a constant: an identifier that no variable or function has."""
    return word.isidentifier() and word not in (*VARIABLES, STEP, *_FUNCTIONS)


def names(law: str) -> set[str]:
    """The variables and constants that `law` speaks of."""
    try:
        calls = [node.func for node in ast.walk(_parse(law)) if isinstance(node, ast.Call)]
        return {node.id for node in ast.walk(_parse(law)) if isinstance(node, ast.Name) and node not in calls}
    except SyntaxError:
        raise LawError(f"'{law}' is not an arithmetic expression") from None


@cache
def _parse(law: str) -> ast.expr:
    if len(law) > MOST:
        raise LawError(f"'{quoted(law)}' has {len(law)} characters; a law has at most {MOST}")
    return ast.parse(law.strip(), mode="eval").body


def value(law: str, at: Mapping[str, float]) -> float:
    """The number that `law` gives where the variables have the values `at`.

    Raises:
        LawError: the text is not a law, or the value is not finite.
    """
    try:
        result = float(_walk(_parse(law), at, law))
    except SyntaxError:
        raise LawError(f"'{law}' is not an arithmetic expression") from None
    except (ArithmeticError, ValueError, TypeError) as error:
        raise (
            error if isinstance(error, LawError) else LawError(f"'{law}' has no value here: {error}")
        ) from None
    if not math.isfinite(result):
        raise LawError(f"'{law}' is not finite here")
    return result


def _walk(node: ast.expr, at: Mapping[str, float], law: str) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            if name not in at:
                raise LawError(f"'{law}': unknown name '{name}'; known: {', '.join(at)}.{nearest(name, at)}")
            return at[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_walk(left, at, law), _walk(right, at, law))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_walk(operand, at, law))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return float(_COMPARE[type(op)](_walk(left, at, law), _walk(right, at, law)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_walk(argument, at, law) for argument in args))
    raise LawError(
        f"'{law}': only numbers, {', '.join(at)}, + - * / ** < <= > >= == and {', '.join(_FUNCTIONS)}() "
        "are allowed"
    )
