"""`normlab sweep critical-lr`: rounds of trials, each a job of one sweep, until every border is found.

What was tried is nowhere but in the jobs' folders: the same command goes the same way again, finds there what
is finished, and trains the rest.
"""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from normlab import sweep
from normlab.catalogue import naming
from normlab.compare.quantities import measure
from normlab.errors import ConfigError
from normlab.launch import main, preflight
from normlab.launch.signals import FAILED, OK
from normlab.runs.reader import load
from normlab.sweep import Planned
from normlab.sweep.bisection import WORDS, CriticalConfig, Variant, next_rate
from normlab.terminal.wording import counted

RATE = "optimizer.lr"
_RETRY = "sweep.retry="


@dataclass(kw_only=True)
class Search:
    """What a search has come to."""

    settings: CriticalConfig = field(default_factory=CriticalConfig)
    variants: list[Variant] = field(default_factory=list)
    #: The sweep that holds every trial; None where none began.
    directory: Path | None = None
    #: The command that goes on with it.
    resume_command: str = ""
    code: int = OK

    def record(self) -> dict[str, Any]:
        """What to know of the search besides its results."""
        stopped = [{**each.knobs, "why": each.stopped} for each in self.variants if each.stopped]
        return {"sweep": str(self.directory), "settings": asdict(self.settings), "stopped": stopped}


def critical_lr(argv: Sequence[str]) -> Search:
    """Find the critical rate of each variant that `normlab sweep critical-lr ARGV` means."""
    typed = [word for word in argv if not word.startswith(_RETRY)]
    found = Search(resume_command=shlex.join(["normlab", "sweep", "critical-lr", *typed]))
    session = preflight.Session(resume_command=lambda _: found.resume_command)
    found.code = main.guarded(lambda: _search(argv, found, session), argv, session)
    for place in dict(next(_rounds(found), {})):
        found.variants[place].stopped = "interrupted"
    if found.directory is not None and found.directory.is_dir():
        jobs = sweep.read_jobs(found.directory)
        sweep.write(found.directory, jobs, found.resume_command)
        if any(job.status == "failed" for job in jobs):
            found.resume_command += f" {_RETRY}failed"
    else:  # a signal came before the first job began
        found.directory = None
    return found


def _search(argv: Sequence[str], found: Search, session: preflight.Session) -> int:
    found.settings, words = _own(argv)
    jobs = _by_variant(main.planned(words).planned)
    found.variants = [Variant(knobs=knobs) for knobs in _knobs([members[0] for members in jobs])]
    for number, rates in enumerate(_rounds(found), 1):
        _tell(number, rates, sum(len(jobs[place]) for place in rates))
        _try(words, jobs, rates, found, session)
    return FAILED if any(variant.stopped for variant in found.variants) else OK


def _rounds(found: Search) -> Iterator[dict[int, float]]:
    """The rates of each round by the variant's place, for as long as there are any."""
    grid, check = found.settings.grid(), found.settings.check
    while True:
        open_ = {place: each for place, each in enumerate(found.variants) if not each.stopped}
        rates = {place: next_rate(grid, each.shares, check) for place, each in open_.items()}
        wanted = {place: rate for place, rate in rates.items() if rate is not None}
        if not wanted:
            return
        yield wanted


def _try(
    words: Sequence[str],
    jobs: Sequence[Sequence[Planned]],
    rates: dict[int, float],
    found: Search,
    session: preflight.Session,
) -> None:
    """Train every seed of some variants, each at its rate, and note the outcomes."""
    session.trials = [
        [*job.overrides, f"{RATE}={rate!r}"] for place, rate in rates.items() for job in jobs[place]
    ]
    try:
        main.attempt(words, session)
    finally:
        found.directory = session.sweep
    if before := session.standings.count("finished"):
        print(f"  {before} finished before", flush=True)
    done = iter(session.planned)
    for place, rate in rates.items():
        members = [next(done) for _ in jobs[place]]
        outcomes = [_outcome(job, rate) for job in members]
        lost = [status for outcome, status in outcomes if not outcome]
        variant = found.variants[place]
        if lost:
            variant.stopped = (
                f"at {rate:g}, {len(lost)} of {len(outcomes)} runs: {', '.join(sorted(set(lost)))}"
            )
        else:
            words = [outcome for outcome, _ in outcomes]
            variant.outcomes[rate] = dict(
                zip([naming.knob(job.config, "seed") for job in members], words, strict=True)
            )


def _outcome(job: Planned, rate: float) -> tuple[str, str]:
    """A trial's outcome, empty where it has none, and its status."""
    if naming.knob(job.config, RATE) != rate:
        raise ConfigError(RATE, f"is set to {naming.knob(job.config, RATE)} by a file; take it out there")
    status = sweep.status_of(job.directory)
    return measure(load(job.directory)[0]).word if status == "finished" else "", status


def _own(argv: Sequence[str]) -> tuple[CriticalConfig, list[str]]:
    """The search's own settings, and the words of its sweep, which always has a name."""
    own: dict[str, Any] = {}
    rest = []
    for word in argv:
        key, _, value = word.partition("=")
        if not key.startswith("critical."):
            rest.append(word)
        elif key not in WORDS:
            raise ConfigError(key, f"there is no such setting; there are {', '.join(WORDS)}")
        else:
            own[key.removeprefix("critical.")] = _number(key, value)
    if not any(word.startswith(("sweep.name=", "hydra.sweep.dir=")) for word in rest):
        same = [word for word in rest if not word.startswith(_RETRY)]
        rest.append(f"sweep.name=critical-lr-{hashlib.sha256(repr(same).encode()).hexdigest()[:8]}")
    return CriticalConfig(**own), rest


def _number(key: str, value: str) -> Any:
    kind = WORDS[key]
    try:
        return kind(value)
    except ValueError:
        what = "a number" if kind is float else "a whole number"
        raise ConfigError(key, f"must be {what}, got {value}") from None


def _by_variant(jobs: Sequence[Planned]) -> list[list[Planned]]:
    """The jobs that differ in nothing but the seed, together."""
    found: dict[tuple[str, ...], list[Planned]] = {}
    for job in jobs:
        if any(word.startswith(f"{RATE}=") for word in job.overrides):
            raise ConfigError(RATE, "is what is searched; give critical.lowest and critical.highest")
        key = tuple(word for word in job.overrides if not word.startswith("seed="))
        found.setdefault(key, []).append(job)
    return list(found.values())


def _knobs(firsts: Sequence[Planned]) -> list[dict[str, Any]]:
    """What tells the variants apart."""
    names = [name for name in naming.swept([job.config for job in firsts]) if name not in ("seed", RATE)]
    return [{name: naming.knob(job.config, name) for name in names} for job in firsts]


def _tell(number: int, rates: dict[int, float], runs: int) -> None:
    low, high = min(rates.values()), max(rates.values())
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    variants = counted(len(rates), "variant")
    print(f"round {number}: {variants} at {RATE} {span}, {counted(runs, 'run')}", flush=True)
