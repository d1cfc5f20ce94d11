"""The arrows of the architecture: who may import what, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import normlab

ROOT = Path(normlab.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
#: Outside packages that only some modules may import, by the modules' prefixes.
OWNERS = {
    "hydra": ("normlab.launch",),
    "omegaconf": ("normlab.launch",),
    "typer": ("normlab.cli",),
    "wandb": ("normlab.sinks.wandb", "normlab.analysis.wandb_runs", "normlab.analysis.wandb_view"),
    "datasets": ("normlab.data",),
    "huggingface_hub": ("normlab.data",),
    "tokenizers": ("normlab.data",),
    "matplotlib": ("normlab.analysis",),
    "scipy": ("normlab.analysis", "normlab.probe.statistics"),
    "statsmodels": ("normlab.analysis",),
    "pandas": ("normlab.analysis", "normlab.data.readers"),
    "pyarrow": ("normlab.data",),
    "jinja2": ("normlab.analysis",),
    "rich": (
        "normlab.sinks.console",
        "normlab.cli",
        "normlab.analysis",
        "normlab.listing",
        "normlab.replay_view",
        "normlab.sweep",
        "normlab.describe.page",
        "normlab.describe.compare",
        "normlab.explain.page",
        "normlab.probe.page",
        "normlab.probe.session",
    ),
    "torch": (
        "normlab.check",
        "normlab.crew",
        "normlab.components",
        "normlab.model",
        "normlab.sites",
        "normlab.training",
        "normlab.measure",
        "normlab.run",
        "normlab.restart",
        "normlab.environment",
        "normlab.describe.counts",
        "normlab.describe.saved",
        "normlab.probe.quantities",
        "normlab.probe.session",
    ),
}
#: What a leaf package may import of normlab, besides itself.
LEAVES = {
    "normlab.tables": {"normlab.config", "normlab.errors", "normlab.laws"},
    "normlab.components": {"normlab.config", "normlab.errors", "normlab.laws", "normlab.tables"},
    "normlab.measure": {"normlab.config", "normlab.errors", "normlab.tables"},
    "normlab.divergence": {"normlab.config", "normlab.errors", "normlab.tables"},
    "normlab.data": {
        "normlab.config",
        "normlab.disk",
        "normlab.errors",
        "normlab.plain_data",
        "normlab.tables",
    },
    "normlab.sinks": {
        "normlab.config",
        "normlab.disk",
        "normlab.errors",
        "normlab.plain_data",
        "normlab.shell",
        "normlab.strict_json",
    },
    "normlab.config": {"normlab.errors", "normlab.laws"},
    "normlab.laws": {"normlab.errors"},
    "normlab.disk": set(),
    "normlab.plain_data": {"normlab.errors"},
    "normlab.strict_json": {"normlab.plain_data"},
    "normlab.errors": set(),
    "normlab.shell": set(),
    "normlab.model": {
        "normlab.config",
        "normlab.components",
        "normlab.laws",
        "normlab.errors",
        "normlab.tables",
    },
}


def imports(path):
    """Names that a file imports anywhere, with whether at the top level."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from ((name, node in tree.body) for name in names or {node.module})


def within(name, prefixes):
    return any(name == prefix or name.startswith((prefix + ".", prefix + "_")) for prefix in prefixes)


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_are_imported_by_their_owners_alone(module):
    for name, _ in imports(MODULES[module]):
        package = name.split(".")[0]
        assert within(module, OWNERS.get(package, (module,))), f"{module} imports {package}"


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, LEAVES)])
def test_leaves_import_only_what_lies_below_them(module):
    leaf = next(prefix for prefix in LEAVES if within(module, [prefix]))
    for name, _ in imports(MODULES[module]):
        if name.startswith("normlab."):
            assert within(name, {leaf, *LEAVES[leaf]}), f"{module} imports {name}"


def test_the_loop_knows_no_sink_no_tracker_and_no_command_line():
    known = [name for name, _ in imports(MODULES["normlab.training.loop"]) if name.startswith("normlab.")]
    assert not [name for name in known if within(name, ["normlab.sinks", "normlab.launch", "normlab.cli"])]


@pytest.mark.parametrize(
    "module",
    [
        "normlab",
        "normlab.tables.norms",
        "normlab.cli",
        "normlab.divergence",
        "normlab.config",
        "normlab.explain.page",
    ],
)
def test_importing_it_does_not_import_torch(module):
    heavy = "{'torch', 'hydra', 'wandb', 'datasets', 'matplotlib', 'scipy', 'pandas'}"
    code = f"import sys, {module}; found = {heavy} & sys.modules.keys(); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
