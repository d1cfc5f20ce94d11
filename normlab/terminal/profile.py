"""Numbers of each layer as bars, the input at the top: the depth profile of the live view."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from normlab.terminal import sketch, wording

_GAP = "  "


class TextProfile(NamedTuple):
    """One family of numbers by place, such as the gradient norm of `layer_03`."""

    title: str
    values: Mapping[str, float]


def depth_profile(
    profiles: Sequence[TextProfile],
    marked: Collection[str],
    width: int,
    height: int,
    ascii_only: bool,
    shared: tuple[int, int] | None = None,
) -> list[Text]:
    """Lines of `width`, at most `height` of them: `profiles` side by side, of the places that the first has.

    Each has a scale of its own, which its title tells, unless all have the `shared` one. Where there is no
    room for all places, the first, the last and some between them are shown. The `marked` ones, which an
    event names, stand out.
    """
    every = list(profiles[0].values)
    places = _shown(every, marked, height - 1)
    if not places:
        return []
    names = [_name(place, max(map(len, places)), place in marked, ascii_only) for place in places]
    room = max((width - len(names[0]) - len(_GAP) * (len(profiles) - 1)) // len(profiles), 9)
    title = Text()
    lines = [title, *names]
    for number, profile in enumerate(profiles):
        scale = shared or sketch.decades(list(profile.values.values()))
        words = profile.title + ("" if shared else f", log 1e{scale[0]} to 1e{scale[1]}")
        if number == 0 and len(places) < len(every):
            words += f", {len(places)} of {len(every)}"
        if number:
            for line in lines:
                line.append(_GAP)
        for place, line in zip(places, names, strict=True):
            style = "yellow" if place in marked else "green"
            line.append_text(_bar(profile.values.get(place), scale, room, style, ascii_only))
        title.append(words, "bold")
        title.truncate(len(names[0]), overflow="ellipsis", pad=True)
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return lines


def _shown(places: Sequence[str], marked: Collection[str], room: int) -> list[str]:
    """At most `room` of the places, evenly spread; a marked one, where none is shown near it, in the stead of
    another."""
    kept = sketch.thin(len(places), room)
    for index in (index for index, place in enumerate(places) if place in marked and index not in kept):
        near = sorted(kept, key=lambda other: abs(other - index))
        free = [other for other in near if other in kept[1:-1] and places[other] not in marked]
        if free and places[near[0]] not in marked:
            kept[kept.index(free[0])] = index
    return [places[index] for index in sorted(kept)]


def _name(place: str, width: int, marked: bool, ascii_only: bool) -> Text:
    mark = ("!" if ascii_only else "▸") if marked else " "
    return Text.assemble((f"{mark}{place:<{width}} ", "bold yellow" if marked else ""))


def _bar(value: float | None, scale: tuple[int, int], width: int, style: str, ascii_only: bool) -> Text:
    """A bar on a log scale between two powers of ten and the number, in all of `width`."""
    if value is None:
        return Text(" " * width)
    number = f"{wording.short(value):>8}"
    room = max(width - len(number), 1)
    if not (math.isfinite(value) and value > 0):
        return Text.assemble(" " * room, (number, "dim" if value == 0 else "bold red"))
    low, high = scale
    bar = sketch.bar((math.log10(value) - low) / (high - low), room, ascii_only)
    return Text.assemble((f"{bar:<{room}}", style), number)
