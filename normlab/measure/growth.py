"""The growth exponent: how fast a signal grows from block to block (OLMo 2, 2501.00656, section 3.2)."""

from torch import Tensor


def exponent(first: Tensor, last: Tensor, blocks: int) -> Tensor:
    """ln(last / first) / blocks of a signal's sizes (norm or rms) before the first block and after the last.

    Near 0 the signal keeps its size; e^exponent is the factor a block.
    """
    return (last / first).log() / blocks


def growth(activations: Tensor, gradients: Tensor) -> dict[str, float]:
    """Exponents over the whole depth, and over its `lower` and `upper` half where there are two blocks.

    `growth/activation`: of the residual stream, from the embedding upwards. `growth/gradient`: of dL/dx, the
    way that it goes, from the last block down to the embedding; positive where it explodes, negative where
    it vanishes. A middle block counts to the upper half.

    Args:
        activations, gradients: (L + 1,), their norms after the embedding and after each of L blocks.
    """
    depth = len(activations) - 1
    halves = {"/lower": (0, depth // 2), "/upper": (depth // 2, depth)} if depth > 1 else {}
    found: dict[str, float] = {}
    for half, (bottom, top) in {"": (0, depth), **halves}.items():
        up = exponent(activations[bottom], activations[top], top - bottom)
        down = exponent(gradients[top], gradients[bottom], top - bottom)
        found |= {f"growth/activation{half}": up.item(), f"growth/gradient{half}": down.item()}
    return found
