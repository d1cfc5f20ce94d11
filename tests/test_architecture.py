"""The map of the package: its rooms in order, who may import what, read from the sources."""

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
#: Every room of the package, from the ground up: a room imports only from rooms before it.
ROOMS = (
    "errors",
    "disk",
    "statistics",
    "machine",
    "terminal",
    "config",
    "catalogue",
    "measure",
    "divergence",
    "model",
    "data",
    "rundir",
    "compose",
    "training",
    "sinks",
    "sweep",
    "figures",
    "recorder",
    "runs",
    "probe",
    "describe",
    "run",
    "compare",
    "explain",
    "report",
    "plot",
    "launch",
    "cli",
    "__main__",
)
#: Outside packages that only some rooms, or modules, may import.
OWNERS = {
    "hydra": {"compose", "launch"},
    "omegaconf": {"compose", "launch"},
    "typer": {"cli"},
    "wandb": {"sinks.wandb", "runs.wandb_runs", "runs.wandb_workspace"},
    "wandb_workspaces": {"runs.wandb_workspace"},
    "datasets": {"data"},
    "huggingface_hub": {"data"},
    "tokenizers": {"data"},
    "pyarrow": {"data"},
    "matplotlib": {"figures", "plot"},
    "scipy": {"statistics", "compare", "probe.statistics"},
    "statsmodels": {"statistics", "compare"},
    "pandas": {"runs", "compare", "data.readers"},
    "jinja2": {"report"},
    "rich": {
        "terminal.profile",
        "sinks.console",
        "sweep",
        "runs",
        "probe.page",
        "probe.session",
        "describe.page",
        "describe.side_by_side",
        "compare",
        "explain.page",
        "plot",
        "cli",
    },
    "torch": {
        "measure",
        "model",
        "rundir.environment",
        "training",
        "probe.quantities",
        "probe.session",
        "describe.counts",
        "describe.saved",
        "run",
    },
}
#: Rooms whose import is quick: help, lists and completion need them.
LIGHT = (
    "normlab",
    "normlab.config",
    "normlab.catalogue.norms",
    "normlab.cli",
    "normlab.divergence",
    "normlab.explain.page",
)


def imports(path):
    """The names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from names or {node.module}


def room(module):
    return module.removeprefix("normlab.").split(".")[0]


def within(module, owners):
    name = module.removeprefix("normlab.")
    return any(f"{name}.".startswith(f"{owner}.") for owner in owners)


def test_every_module_is_in_a_room_of_the_map_and_every_room_is_there():
    assert {room(name) for name in MODULES if name != "normlab"} == set(ROOMS)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"normlab"}))
def test_a_room_imports_only_from_rooms_before_it(module):
    before = ROOMS[: ROOMS.index(room(module)) + 1]
    for name in imports(MODULES[module]):
        if name.startswith("normlab."):
            assert room(name) in before, f"{module} imports {name}: put it lower, or what needs it higher"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_outside_packages_are_imported_by_their_owners_alone(module):
    for name in imports(MODULES[module]):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or within(module, owners), f"{module} imports {name}"


def test_the_loop_knows_no_sink_no_command_line_and_no_run_directory():
    known = {room(name) for name in imports(MODULES["normlab.training.loop"]) if name.startswith("normlab.")}
    assert not known & {"sinks", "launch", "cli", "rundir"}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_does_not_import_torch(module):
    heavy = "{'torch', 'hydra', 'wandb', 'datasets', 'matplotlib', 'scipy', 'pandas'}"
    code = f"import sys, {module}; found = {heavy} & sys.modules.keys(); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_public_class_has_a_name_of_its_own():
    where = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}
