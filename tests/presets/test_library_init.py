"""How the weights of presets start: each matrix's standard deviation, and its cut where it has one."""

import pytest
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    NemotronConfig,
    Olmo2Config,
    Qwen3Config,
)

from normlab.compose.from_words import compose
from normlab.model.gpt import GPT

DEPTH, VOCAB = 3, 256
ONE_STD = {
    "gemma": GemmaConfig,
    "gemma2": Gemma2Config,
    "gemma3": Gemma3TextConfig,
    "olmo2": Olmo2Config,
    "qwen3": Qwen3Config,
    "cohere": CohereConfig,
}


def matrices(preset):
    """By name, with the layer (from 1; 0 outside) and whether it is an output projection."""
    model = GPT(compose([f"preset={preset}", f"depth={DEPTH}"]), VOCAB)
    for name, matrix in model.named_parameters():
        if matrix.dim() > 1:
            layer = int(name.split(".")[1]) + 1 if name.startswith("layers") else 0
            yield name, matrix.detach(), layer, name.endswith(("branch.out.weight", "branch.w_out.weight"))


def close(std):
    return pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("preset", ONE_STD)
def test_all_matrices_have_the_library_s_std(preset):
    for name, matrix, _, _ in matrices(preset):
        assert matrix.std().item() == close(ONE_STD[preset]().initializer_range), name


def test_nemotron_s_output_projections_shrink_with_the_root_of_the_sublayers():
    """Megatron's default: std / sqrt(2 L); the rest has the library's std."""
    std = NemotronConfig().initializer_range
    for name, matrix, _, out in matrices("nemotron"):
        assert matrix.std().item() == close(std / (2 * DEPTH) ** 0.5 if out else std), name


def test_olmo_s_shrink_layer_by_layer():
    """`mitchell` in OLMo's code: 1 / sqrt(inputs), output projections over sqrt(2 l) on top."""
    for name, matrix, layer, out in matrices("olmo"):
        assert matrix.std().item() == close((matrix.shape[1] * (2 * layer if out else 1)) ** -0.5), name


@pytest.mark.parametrize("preset", ["olmo", "olmo2"])
def test_olmo_s_are_cut_at_three_standard_deviations(preset):
    """Of 16 thousand normal weights in `head`, some 40 would lie further out."""
    head = next(matrix for name, matrix, _, _ in matrices(preset) if name == "head.weight")
    std = {"olmo": head.shape[1] ** -0.5, "olmo2": Olmo2Config().initializer_range}[preset]
    assert 2.9 < (head.abs().max() / std).item() <= 3
