"""A preset against the `transformers` library: the same weights give the same logits and gradients.

The oracle is the library's own code, with its default config but for the sizes, in its plain ("eager")
attention. Its weights go through a mapping kept beside each test; so do its gradients, to be compared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from normlab.compose.from_words import compose
from normlab.model.gpt import GPT

VOCAB, DEPTH, WIDTH, HEADS, CONTEXT, BATCH = 61, 3, 32, 4, 12, 2

#: (the library's tensors by name, number of layers) -> normlab's names and tensors.
Mapped = Callable[[Mapping[str, Tensor], int], Iterable[tuple[str, Tensor]]]


class InFloat64(TorchFunctionMode):
    """The library's casts to float32 become casts to float64, so that float64 stays so throughout."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def wider(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(wider, args), **{key: wider(value) for key, value in (kwargs or {}).items()})


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        if dtype is torch.float64:
            with InFloat64():
                yield
        else:
            yield
    finally:
        torch.set_default_dtype(before)


class Used(dict[str, Tensor]):
    """Notes which tensors were asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.names.add(name)
        return super().__getitem__(name)


def randomize(model: nn.Module) -> None:
    """Weights that no part can hide behind: no gain is 1, no bias 0, attention is far from uniform."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.dim() > 1:
            parameter.data.copy_(1.5 * noise / parameter[0].numel() ** 0.5)
        else:
            parameter.data.add_(0.2 * noise)


def gradients(model: nn.Module, logits_BTV: Tensor, targets_BT: Tensor) -> dict[str, Tensor]:
    loss = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


class Sizes:
    """What both models are built with."""

    vocab, depth, width, heads, context = VOCAB, DEPTH, WIDTH, HEADS, CONTEXT
    words = (
        f"depth={DEPTH}",
        f"model.width={WIDTH}",
        f"model.heads={HEADS}",
        f"model.context={CONTEXT}",
    )
    #: The same in LLaMA's config, whose names most of the library's decoders have.
    llama: ClassVar[dict[str, Any]] = {
        "vocab_size": VOCAB,
        "num_hidden_layers": DEPTH,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "attn_implementation": "eager",
    }


@pytest.fixture
def sizes() -> type[Sizes]:
    return Sizes


@pytest.fixture
def ungrouped() -> Callable[[Tensor, int, int], Tensor]:
    """Megatron's rows of attention, some queries then their key and value, group by group, as q, k, v."""

    def split(rows: Tensor, groups: int, head_width: int) -> Tensor:
        grouped = rows.view(groups, -1, head_width, *rows.shape[1:])
        return torch.cat([part.flatten(0, 2) for part in grouped.tensor_split([-2, -1], dim=1)])

    return split


@pytest.fixture
def llama_names() -> Callable[..., Mapped]:
    """`llama_names({"attn.norm_in": "input_layernorm"})`: the mapping of a model with LLaMA's names.

    The norms of a layer are given; biases, a gate and a head of its own are mapped where it has them.
    `rows(part, weight)` may put the rows of a `q`, `k` or `v` projection in another order.
    """
    projections = {"attn.branch.out": "self_attn.o_proj", "ffn.branch.w_gate": "mlp.gate_proj"}
    projections |= {"ffn.branch.w_in": "mlp.up_proj", "ffn.branch.w_out": "mlp.down_proj"}

    def build(
        norms: Mapping[str, str], rows: Callable[[str, Tensor], Tensor] = lambda part, weight: weight
    ) -> Mapped:
        def mapping(theirs: Mapping[str, Tensor], depth: int) -> Iterator[tuple[str, Tensor]]:
            pairs = {"embedding.tokens": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
            for layer in range(depth):
                here, there = f"layers.{layer}", f"model.layers.{layer}"
                qkv = [rows(part, theirs[f"{there}.self_attn.{part}_proj.weight"]) for part in "qkv"]
                yield f"{here}.attn.branch.qkv.weight", torch.cat(qkv)
                pairs |= {f"{here}.{a}": f"{there}.{b}" for a, b in (projections | dict(norms)).items()}
            for ours, name in pairs.items():
                for kind in ("weight", "bias"):
                    if f"{name}.{kind}" in theirs:
                        yield f"{ours}.{kind}", theirs[f"{name}.{kind}"]

        return mapping

    return build


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}


@pytest.fixture(params=TOLERANCE, ids=str)
def same_model(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """`same_model("gpt2", lambda: GPT2LMHeadModel(config), mapping)`: both agree, in either precision."""
    dtype: torch.dtype = request.param

    def check(
        preset: str, library: Callable[[], nn.Module], mapping: Mapped, words: tuple[str, ...] = ()
    ) -> None:
        torch.manual_seed(0)
        tokens_BT = torch.randint(VOCAB, (BATCH, CONTEXT + 1))
        inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        with precision(dtype):
            theirs = library().to(dtype).eval()
            randomize(theirs)
            expected_BTV = theirs(inputs_BT, use_cache=False).logits
            expected = gradients(theirs, expected_BTV, targets_BT)
        ours = GPT(compose([f"preset={preset}", *Sizes.words, *words]), VOCAB).to(dtype).eval()
        given = Used(dict(theirs.named_parameters()))
        weights = dict(mapping(given, DEPTH))
        assert weights.keys() == dict(ours.named_parameters()).keys()
        assert given.names == given.keys(), "parts of the library's model that normlab's lacks"
        ours.load_state_dict({name: tensor.detach() for name, tensor in weights.items()}, strict=False)
        logits_BTV = ours(inputs_BT)
        found = {"logits": difference(logits_BTV, expected_BTV)}
        actual = gradients(ours, logits_BTV, targets_BT)
        found |= {
            name: difference(actual[name], theirs) for name, theirs in dict(mapping(expected, DEPTH)).items()
        }
        worst = max(found, key=lambda name: found[name])
        record_property("largest_difference", found[worst])
        assert found[worst] < TOLERANCE[dtype], {name: value for name, value in found.items() if value > 1e-9}

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The largest difference of each model, for the reader of a test log."""
    rows = [
        f"{report.nodeid.rpartition('::')[2]:<60} {dict(report.user_properties)['largest_difference']:.1e}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call" and "largest_difference" in dict(report.user_properties)
    ]
    if rows:
        terminalreporter.section("largest difference from the library's model (logits, gradients)")
        terminalreporter.write("\n".join(sorted(rows)) + "\n")
