"""`normlab probe`: from words to the models to measure."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # as in preflight: `train -m` splits so
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from normlab.catalogue import groups, naming
from normlab.compose import messages
from normlab.compose.saved_config import as_plain
from normlab.compose.schema import to_run_config
from normlab.config import RunConfig
from normlab.errors import ConfigError, UserError, at_least
from normlab.probe.settings import WORDS, Plan, PlannedModel, ProbeConfig, name

CONFIG = "probe"


def plan(words: Sequence[str], config_dir: Path | None = None) -> Plan:
    """The models that `normlab probe WORDS` measures.

    Raises:
        UserError: words that cannot be used, in the same terms as `normlab train`.
    """
    typed = list(words)
    more = [] if config_dir is None else [f"hydra.searchpath=['file://{config_dir.resolve()}']"]
    holder = GlobalHydra.instance()
    before, holder.hydra = holder.hydra, None
    try:
        with initialize_config_dir(str(groups.conf_dir()), version_base="1.3"), _explained(typed):
            parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
            own, rest = _own(parser.parse_overrides(typed))
            settings = _settings(own, rest)
            rest = _with_seeds(own.get("seeds"), rest, parser)
            return _plan(_jobs(parser, rest, more), more, settings, typed)
    finally:
        holder.hydra = before


def _own(overrides: Sequence[Override]) -> tuple[dict[str, Any], list[Override]]:
    """The probe's own words by name, and the others."""
    own: dict[str, Any] = {}
    rest = []
    for override in overrides:
        key = override.key_or_group
        if key in WORDS:
            own[key] = _value(override, key)
        else:
            rest.append(override)
    return own, rest


def _value(override: Override, key: str) -> Any:
    typed = str(override.input_line).partition("=")[2]
    if override.is_sweep_override():
        raise ConfigError(key, f"takes one value, got {typed}")
    kind, value = WORDS[key], override.value()
    if kind is str:
        return str(value)
    fits = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    if not fits:
        raise ConfigError(key, f"must be {'a number' if kind is float else 'a whole number'}, got {typed}")
    return kind(value)


def _settings(own: dict[str, Any], rest: Sequence[Override]) -> ProbeConfig:
    """The probe's own settings; who types a `data` word wants the text's tokens."""
    names_text = any(each.key_or_group.partition(".")[0] == "data" for each in rest)
    tokens = own.get("tokens", "text" if names_text else "random")
    if tokens == "text" and "vocab" in own:
        raise ConfigError("vocab", "is that of random tokens; a text brings its own (data.tokenizer)")
    return ProbeConfig(**{key: own[key] for key in own if key != "seeds"} | {"tokens": tokens})


def _with_seeds(count: int | None, rest: list[Override], parser: OverridesParser) -> list[Override]:
    """`seeds=N` as N seeds from `seed` on, which is 0 where it is not given."""
    if count is None:
        return rest
    at_least(count, 1, "seeds", most=10_000)
    first = 0
    for override in rest:
        if override.key_or_group == "seed":
            if override.is_sweep_override():
                raise ConfigError(
                    "seeds", f"counts the seeds, and {override.input_line} lists them; give one"
                )
            value = override.value()
            first = value if isinstance(value, int) else 0
    if first < 0:
        raise ConfigError("seed", f"must be 0 or more, got {first}")
    return [*rest, parser.parse_override(f"seed=range({first},{first + count})")]


def _jobs(parser: OverridesParser, rest: Sequence[Override], more: Sequence[str]) -> list[list[str]]:
    """The words of each model: every combination of what is typed and of what the composed files vary."""
    fixed = [str(each.input_line) for each in rest if not each.is_sweep_override()]
    with _explained(fixed):
        base = hydra_compose(CONFIG, [*fixed, *more], return_hydra_config=True)
    params = [f"{key}={value}" for key, value in (base.hydra.sweeper.get("params") or {}).items()]
    batches = BasicSweeper.split_arguments([*parser.parse_overrides(params), *rest], None)
    jobs = [list(job) for batch in batches for job in batch]
    if not jobs:
        empty = [str(each.input_line) for each in rest if each.is_sweep_override()]
        raise ConfigError("probe", f"there is no model to measure: nothing matches {' '.join(empty)}")
    for job in jobs:
        if jobs.count(job) > 1:
            raise UserError(f"the same model twice: {' '.join(job)}")
    return jobs


def _plan(
    jobs: Sequence[list[str]], more: Sequence[str], settings: ProbeConfig, typed: Sequence[str]
) -> Plan:
    words = dict.fromkeys(_of(job, "seed") for job in jobs)
    seeds = {word: _whole(word, "seed", jobs[0], more) for word in words}
    varied = _varied(jobs)
    composed: dict[tuple[str, ...], _Composed] = {}
    cells = []
    for job in jobs:
        if _of(job, "seed") == next(iter(seeds)):
            config = _config(job, more, composed)
            plain = as_plain(config)
            group: dict[str, Any] = {"placement": config.placement.name}
            for key in varied:
                value = naming.knob(plain, key)
                group[key] = _of(job, key) if value is None else value
            cells.append(PlannedModel(group=group, config=config))
    order = list(dict.fromkeys(name(cell.group) for cell in cells))
    cells.sort(key=lambda cell: order.index(name(cell.group)))
    follows = [key for each in composed.values() for key in each.follows_seed]
    if follows and len(seeds) > 1:
        raise ConfigError(follows[0], "follows the seed, which a probe varies by itself; give it a value")
    return Plan(settings=settings, cells=cells, seeds=list(seeds.values()), words=typed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Composed:
    """A config, and the settings in it that refer to the depth or the seed."""

    config: RunConfig
    follows_depth: list[str]
    follows_seed: list[str]


def _config(job: Sequence[str], more: Sequence[str], composed: dict[tuple[str, ...], _Composed]) -> RunConfig:
    """The config of a job; one of another depth is reused, since composing takes longer than measuring."""
    rest = tuple(word for word in job if _key(word) != "depth")
    if rest not in composed or composed[rest].follows_depth:
        composed[rest] = _compose([*job, *more])
    return dataclasses.replace(composed[rest].config, depth=_whole(_of(job, "depth"), "depth", job, more))


def _whole(text: str, key: str, job: Sequence[str], more: Sequence[str]) -> int:
    """`text` as the number that `key` then is; composing it gives the error for what is none."""
    if text.isdecimal():
        return int(text)
    number: int = getattr(_compose([*job, f"{key}={text}", *more]).config, key)
    return number


def _compose(words: Sequence[str]) -> _Composed:
    with _explained(words):
        config = hydra_compose(CONFIG, list(words))
        content = OmegaConf.to_container(config)
        assert isinstance(content, dict)
        plain = dict(naming.flat({str(key): value for key, value in content.items()}))
        follows = {
            name: [key for key, value in plain.items() if re.search(rf"\$\{{[^}}]*\b{name}\b", str(value))]
            for name in ("depth", "seed")
        }
        return _Composed(
            config=to_run_config(config), follows_depth=follows["depth"], follows_seed=follows["seed"]
        )


@contextlib.contextmanager
def _explained(words: Sequence[str]) -> Iterator[None]:
    """Errors of composing `words` become ours."""
    try:
        yield
    except (*messages.KNOWN, ValueError) as error:
        if isinstance(error, UserError) or not messages.is_known(error):
            raise
        raise UserError(messages.explain(error, words)) from error


def _varied(jobs: Sequence[list[str]]) -> list[str]:
    """The keys that have several values, but for the placement, the depth and the seed."""
    values: dict[str, set[str]] = {}
    for word in {word for job in jobs for word in job}:
        values.setdefault(_key(word), set()).add(word)
    order = [_key(word) for word in jobs[0]]
    return [key for key in order if len(values[key]) > 1 and key not in ("placement", "depth", "seed")]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _of(job: Sequence[str], key: str) -> str:
    """The value of a word of a job, as it is typed; the last where it stands twice."""
    return [word.partition("=")[2] for word in job if _key(word) == key][-1]


def default_directory(plan: Plan, now: datetime) -> Path:
    """outputs/probes/TIME-PLACEMENTS, where nothing else is asked for."""
    names = "-".join(dict.fromkeys(str(group["placement"]) for group in plan.groups))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", names)[:60]
    return Path("outputs", "probes", f"{naming.timestamp(now)}-{safe}")
