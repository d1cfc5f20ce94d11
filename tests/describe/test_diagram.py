"""Drawings are read back, line by line, and must say what the equations say."""

import ast
import dataclasses
from collections import defaultdict

import pytest

from normlab.catalogue.placements import PLACEMENTS
from normlab.describe import blocks, diagram, equations
from normlab.describe.canvas import ASCII

#: Where each character leads: up, down, left, right.
LEADS = {
    "│": "ud", "─": "lr", "┌": "dr", "┐": "dl", "└": "ur", "┘": "ul",
    "├": "udr", "┤": "udl", "┬": "dlr", "┴": "ulr", "┼": "udlr",
}  # fmt: skip
STEPS = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
BACK = {"u": "d", "d": "u", "l": "r", "r": "l"}


class Reader:
    """A drawing as a circuit: boxes, sums and names, joined by lines."""

    def __init__(self, lines):
        self.cells = {
            (row, column): letter
            for row, line in enumerate(lines)
            for column, letter in enumerate(line)
            if letter != " "
        }
        #: Cell and direction -> ("box", number, port), ("sum", cell, port) or ("name", text).
        self.terminals = {}
        self.boxes = []
        self.inside = set()
        self._find_boxes()
        self._find_sums_and_names()
        self._join()

    def _find_boxes(self):
        for (top, left), letter in sorted(self.cells.items()):
            if letter == "┌":
                self._box(top, left)

    def _box(self, top, left):
        right = left + 1
        while self.cells.get((top, right)) in ("─", "┴"):
            right += 1
        if self.cells.get((top, right)) != "┐":
            return
        bottom = top + 1
        while self.cells.get((bottom, left)) in ("│", "┤"):
            bottom += 1
        if self.cells.get((bottom, left)) != "└" or self.cells.get((bottom, right)) != "┘":
            return
        text = [
            "".join(self.cells.get((row, column), " ") for column in range(left + 1, right)).strip()
            for row in range(top + 1, bottom)
        ]
        number = len(self.boxes)
        self.boxes.append(text)
        edge = [(row, column) for row in range(top, bottom + 1) for column in range(left, right + 1)]
        self.inside |= set(edge)
        for row, column in edge:
            sides = (("u", "┴", row == top), ("d", "┬", row == bottom), ("l", "┤", column == left))
            for direction, mark, there in (*sides, ("r", "├", column == right)):
                if there and self.cells.get((row, column)) == mark:
                    self.terminals[(row, column), direction] = ("box", number, direction)

    def _find_sums_and_names(self):
        for (row, column), letter in self.cells.items():
            if letter == "⊕":
                for direction in "udlr":
                    there = self._next((row, column), direction)
                    if self._leads(there, BACK[direction]) or self.cells.get(there) == "⊕":
                        self.terminals[(row, column), direction] = ("sum", (row, column), direction)
        last = max(row for row, _ in self.cells)
        for row in {row for row, _ in self.cells}:
            for column, word in self._words(row):
                center = column if row in (0, last) else column + len(word) // 2
                self.terminals[(row, center), "u" if row == last else "d"] = ("name", word)

    def _words(self, row):
        word, start = "", 0
        for column in range(max(column for _, column in self.cells) + 2):
            letter = self.cells.get((row, column), " ")
            plain = (row, column) not in self.inside and letter not in LEADS and letter not in " ⊕"
            if plain:
                start = start if word else column
                word += letter
            elif word:
                yield start, word
                word = ""

    def _next(self, cell, direction):
        return cell[0] + STEPS[direction][0], cell[1] + STEPS[direction][1]

    def _leads(self, cell, direction):
        """Whether a line leads from `cell` in `direction`."""
        if (cell, direction) in self.terminals:
            return True
        return cell not in self.inside and direction in LEADS.get(self.cells.get(cell, " "), "")

    def _join(self):
        """The nets: what each connected line joins."""
        self.net = {}
        members = defaultdict(list)
        for (cell, direction), terminal in self.terminals.items():
            key = self._flood(cell, direction)
            self.net[terminal] = key
            members[key].append(terminal)
        self.members = members
        wires = {cell for cell in self.cells if cell not in self.inside and self.cells[cell] in LEADS}
        for cell in wires:
            for direction in LEADS[self.cells[cell]]:
                there = self._next(cell, direction)
                assert self._leads(there, BACK[direction]) or self.cells.get(there) == "⊕", (
                    f"a loose end at {cell} to {direction}"
                )

    def _flood(self, cell, direction):
        """The line that leaves a terminal, as its cells; with none, the two terminals that touch."""
        first = self._next(cell, direction)
        if (first, BACK[direction]) in self.terminals:
            return frozenset({(cell, direction), (first, BACK[direction])})
        seen, todo = set(), [first]
        while todo:
            here = todo.pop()
            if here in seen or here in self.inside or self.cells.get(here, " ") not in LEADS:
                continue
            seen.add(here)
            todo += [self._next(here, way) for way in LEADS[self.cells[here]]]
        return frozenset(seen)

    def value(self, name):
        """What reaches the name at the bottom, as a tree."""
        return self._into(("name", name))

    def _into(self, sink):
        sources = [member for member in self.members[self.net[sink]] if self._is_source(member)]
        assert len(sources) == 1, (sink, sources)
        return self._out(sources[0])

    def _is_source(self, terminal):
        if terminal[0] == "name":
            return terminal[1] in ("x", "y", "x_block")
        if terminal[0] == "sum":
            return terminal[2] == "d"
        text = self.boxes[terminal[1]][0]
        return terminal[2] == ("d" if terminal[2] in "ud" else "r" if text.startswith("*") else "l")

    def _out(self, source):
        if source[0] == "name":
            return source[1].replace("x_block", "x")
        if source[0] == "sum":
            ways = [t for t in self.net if t[:2] == source[:2] and t[2] != "d"]
            return sum_of(self._into(way) for way in ways)
        [entry] = [t for t in self.net if t[:2] == source[:2] and not self._is_source(t)]
        title = self.boxes[source[1]][0]
        inner = self._into(entry)
        if title.startswith("* "):
            return ("*", bare(title[2:]), inner)
        if title.startswith("dropout"):
            return inner
        names = {"attention": "A", "feed-forward": "F", "GPAS": "G"}
        return (names.get(title, title[0]), inner)


def sum_of(terms):
    """A sum whose terms have no order and are no sums."""
    flat = []
    for term in terms:
        flat += term[1:] if term[0] == "+" else [term]
    return ("+", *sorted(flat, key=repr))


def bare(text):
    return ast.unparse(ast.parse(text.strip(), mode="eval"))


def tree(text, known):
    """An equation's right side, its names replaced by what they are."""

    def walk(node):
        match node:
            case ast.Name(id=name):
                return known[name]
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return (name[0], walk(argument))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return sum_of([walk(left), walk(right)])
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return ("*", ast.unparse(left), walk(right))
        raise AssertionError(ast.dump(node))

    return walk(ast.parse(text, mode="eval").body)


def by_equations(config, group):
    """x' and y' of a block: the second sub-layer's equations on what the first's give."""
    known = {"x": "x", "y": "y", "x_block": "x"}
    for part in group.parts:
        found = {}
        for line in equations.sublayer(config, part).lines:
            name, _, text = line.partition(" = ")
            found[name] = tree(text, known | found)
        known |= {"x": found["x'"], "y": found.get("y'")}
    return known["x"], known["y"]


def check(config):
    for group in blocks.groups(config):
        lines = diagram.draw(config, group)
        read = Reader(lines)
        assert max(map(len, lines)) <= 60, "two do not fit 80 columns, but one must"
        x, y = by_equations(config, group)
        assert read.value("x'") == x, "\n".join(lines)
        if config.placement.second_stream:
            assert read.value("y'") == y, "\n".join(lines)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_placement_is_drawn_as_its_equations_say(name, small):
    check(small({"depth": 6}, placement=name))


@pytest.mark.parametrize("seed", range(50))
def test_a_placement_made_at_random_too(seed, small, random_placement):
    check(dataclasses.replace(small({"depth": 2, "model.dropout": 0.1}), placement=random_placement(seed)))


def test_the_reader_sees_a_wrong_drawing(small):
    """What the tests above rest on: a line left out or a box on another path is noticed."""
    config = small({}, placement="keel")
    [group] = blocks.groups(config)
    lines = diagram.draw(config, group)
    with pytest.raises(AssertionError):
        Reader([line.replace("⊕─", "│ ", 1) for line in lines]).value("x'")
    swapped = "\n".join(lines).replace("* 4 ", "N_in").split("\n")
    assert Reader(swapped).value("x'") != by_equations(config, group)[0]


def boxes_of(config, place):
    [group] = blocks.groups(config)
    return diagram.boxes(config, group.parts[place]).branch


def test_what_is_inside_attention_is_listed_in_the_order_it_acts(small):
    config = small(
        {
            "model.positions": "rope",
            "model.kv_heads": 1,
            "placement.softcap": 50.0,
            "placement.v_norm": "head",
        },
        placement="ngpt",
    )
    assert boxes_of(config, 0)[0] == (
        "attention",
        "1 heads of k, v",
        "N on q, k a head",
        "rope on q, k",
        "* s on q, k",
        "logits capped at 50",
        "N on v a head",
    )
    assert boxes_of(config, 1)[0] == ("feed-forward", "gelu", "* s on hidden")
    assert boxes_of(small({}, placement="subln"), 1)[-1] == ("feed-forward", "gelu", "N before W_out")
    assert boxes_of(small({}, placement="normformer"), 0)[1] == ("attention", "* s on each head")


def test_pre_looks_like_this(small):
    config = small({}, placement="pre")
    [group] = blocks.groups(config)
    assert "\n".join(diagram.draw(config, group)) == (
        """\
 x
 │
 ├──────────┐
 │        ┌─┴─┐
 │        │ N │
 │        └─┬─┘
 │    ┌─────┴─────┐
 │    │ attention │
 │    └─────┬─────┘
 ⊕──────────┘
 ├──────────┐
 │        ┌─┴─┐
 │        │ N │
 │        └─┬─┘
 │  ┌───────┴───────┐
 │  │ feed-forward  │
 │  │     gelu      │
 │  └───────┬───────┘
 ⊕──────────┘
 │
 x'"""
    )


def test_every_character_has_one_of_ascii(small):
    for name in PLACEMENTS:
        config = small({}, placement=name)
        for group in blocks.groups(config):
            assert "\n".join(diagram.draw(config, group)).translate(ASCII).isascii()


def test_blocks_that_differ_have_a_drawing_each(small):
    groups = blocks.groups(small({"depth": 8}, placement="mix_ln"))
    assert [blocks.ranges(group.layers) for group in groups] == ["1-2", "3-8"]
    first, later = (diagram.draw(small({"depth": 8}, placement="mix_ln"), group) for group in groups)
    assert first != later and later == diagram.draw(*_only(small({}, placement="pre")))


def _only(config):
    [group] = blocks.groups(config)
    return config, group
