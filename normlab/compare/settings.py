"""The sheet of the settings that differ between the groups."""

from collections.abc import Iterator, Sequence
from typing import Any

from normlab.catalogue import groups, naming
from normlab.catalogue.naming import spell, spell_short
from normlab.compare.matching import REPLICATES, Group
from normlab.compare.sheet import Column, Sheet
from normlab.compare.study import Study


def settings(study: Study) -> Sheet:
    """What differs between the groups' configs, replicates' seeds aside, and in which groups."""
    return Sheet(
        name="settings",
        title="Settings that differ",
        caption="",
        columns=[
            Column(name="setting", title="setting", right=False, least=20),
            Column(name="values", title="values", text=_where, right=False, least=20),
        ],
        rows=list(_settings(study.groups)),
    )


def _settings(found: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """One row a key; its values each with the options of the key's group, or of nothing where it has none."""
    configs = [next(iter(each.runs.values())).config for each in found]
    flats = [{key: value for key, value in naming.flat(config) if value != {}} for config in configs]
    order = list(dict.fromkeys(key for config in configs for key in config))
    keys = dict.fromkeys(key for flat in flats for key in flat)
    for key in sorted(keys, key=lambda key: order.index(key.partition(".")[0])):
        part = key.partition(".")[0]
        if part in (*naming.OUTSIDE, *REPLICATES) or key.startswith(REPLICATES):
            continue
        options: dict[str, dict[str, None]] = {}
        for flat, config in zip(flats, configs, strict=True):
            option = spell(naming.knob(config, part)) if part in groups.GROUPS else ""
            options.setdefault(spell(flat[key]) if key in flat else "absent", {})[option] = None
        if len(options) > 1:
            values = [{"value": value, "of": [name for name in of if name]} for value, of in options.items()]
            yield {"setting": key, "values": values}


def _where(values: list[dict[str, Any]]) -> str:
    parts = []
    for each in values:
        of = f" ({', '.join(each['of'])})" if each["of"] and each["of"] != [each["value"]] else ""
        parts.append(f"{spell_short(each['value']) or '(empty)'}{of}")
    return "; ".join(parts)
