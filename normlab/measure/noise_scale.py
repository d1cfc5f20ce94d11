"""Gradient noise scale: the batch above which more sequences hardly help (McCandlish 2018, 1812.06162)."""

from torch import Tensor


def noise_scale(small: Tensor, large: Tensor, parts: int, batch_size: int) -> dict[str, float]:
    """From squared norms of gradients over b = batch_size / parts sequences, `small` (its mean over the parts
    of a batch), and over B = batch_size, `large`, each 0-d and the mean over several batches:

        noise_scale/square  |G|^2 = (B large - b small) / (B - b)        the true gradient's square
        noise_scale/trace   tr S  = (small - large) / (1/b - 1/B)        the variance of one sequence's
        noise_scale/simple  tr S / |G|^2                                 in sequences

    Both estimates are unbiased (appendix A.1 there), so either can be negative; they are kept apart to be
    averaged before they are divided. Needs parts >= 2.
    """
    large, small = large.cpu().double(), small.cpu().double()
    many, few = batch_size, batch_size / parts
    square = (many * large - few * small) / (many - few)
    trace = (small - large) / (1 / few - 1 / many)
    names = ("trace", "square", "simple")
    values = (trace, square, trace / square)
    return {f"noise_scale/{name}": value.item() for name, value in zip(names, values, strict=True)}
