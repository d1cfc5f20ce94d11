"""The console sink, read as text: on a pipe, on a terminal, narrow and wide, with and without Unicode."""

import io
import math
import re
import time

import pytest
from rich.console import Console

from normlab.divergence import KINDS, OUTCOMES, outcome
from normlab.rundir.writer import RunDirectory
from normlab.sinks.console.console_sink import TELLING, ConsoleSink
from normlab.sinks.console.progress import Progress
from normlab.sinks.console.view import LiveView


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Ascii(io.StringIO):
    encoding = "ascii"


def terminal(width=80, height=24, file=None, **more):
    return Console(file=file or io.StringIO(), force_terminal=True, width=width, height=height, **more)


def pipe(width=80):
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def told(console):
    return console.file.getvalue()


def drawn(run, width=80, height=24, file=None, color_system=None):
    console = terminal(width, height, file, color_system=color_system)
    console.print(LiveView(run))
    return told(console)


@pytest.fixture
def progress(opening_of, made):
    """20 of 30 steps of a run with a spike."""
    clock = Clock()
    run = Progress(opening_of(), clock)
    for step in range(20):
        run.take(made.row(step))
    run.events[(5, "spike", "loss")] = made.event(5)
    clock.now = 40.0
    return run


def test_on_a_pipe_there_are_plain_lines(opening_of, made):
    console, clock = pipe(), Clock()
    sink = ConsoleSink(console, clock=clock)
    sink.open(opening_of())
    for step in range(30):
        clock.now = 5.0 * (step + 1)
        sink.row(made.row(step, **({"val/loss": 4.25} if step == 4 else {})))
        if step == 7:
            sink.event(made.event(7, message="up [bold]it[/bold] went"))
            sink.event(made.event(7, end=9))
    sink.close(made.summary())
    lines = told(console).splitlines()
    assert "\x1b" not in told(console)
    assert lines[0] == (
        "placement=post: 1,234 parameters, to step 30; floors of the text: ln V 5.545, unigram 3.147, "
        "bigram 2.310 nats"
    )
    steps = [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("step ")]
    # A tenth is 3 steps or 15 s. Step 5 had an evaluation, and the last one always has a line.
    assert steps == [3, 5, 8, 11, 14, 17, 20, 23, 26, 29, 30]
    assert "val 4.2500" in lines[2]
    assert "ETA 2:05" in lines[2]
    assert next(line for line in lines if "spike at" in line) == "spike at step 7: up [bold]it[/bold] went"
    assert {len(line) for line in lines if line.startswith(("│", "╭", "╰"))} == {80}


@pytest.mark.parametrize(("seconds", "lines"), [(0.01, 1), (1.0, 3), (60.0, 10)])
def test_the_less_chatty_of_ten_percent_and_ten_seconds_counts(opening_of, made, seconds, lines):
    console, clock = pipe(), Clock()
    sink = ConsoleSink(console, clock=clock)
    sink.open(opening_of())
    for step in range(30):
        clock.now += seconds
        sink.row(made.row(step))
    assert len([line for line in told(console).splitlines() if line.startswith("step ")]) == lines


def test_plain_is_plain_on_a_terminal_too(opening_of, made):
    console = terminal(color_system=None)
    sink = ConsoleSink(console, plain=True, clock=Clock())
    sink.open(opening_of())
    sink.row(made.row(0))
    sink.close(made.summary())
    assert "\x1b" not in told(console)
    assert told(console).startswith("placement=post: ")


def test_on_a_terminal_the_view_is_live_and_leaves_only_the_summary(opening_of, made):
    console = terminal(color_system=None)
    sink = ConsoleSink(console)
    sink.open(opening_of())
    assert "waiting for the first step" in told(console)
    for step in range(30):
        sink.row(made.row(step))
    sink.warn("wandb has no API key")
    sink.close(made.summary())
    text = told(console)
    assert "\x1b[?25l" in text and text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    assert "warning: wandb has no API key" in text
    assert "outcome" in text[text.rindex("\x1b[") :]


def test_the_view_shows_where_the_run_is(progress):
    text = drawn(progress)
    assert re.search(r"step 20/30 .*ETA 0:21 +10k tokens/s", text)
    assert "loss 3.6000" in text
    assert "lr 0.00250" in text
    assert "grad norm 1.50" in text
    for label in ("ln V 5.55", "unigram 3.15", "bigram 2.31"):
        assert label in text
    assert "last event spike at step 5: the loss jumped to 9" in text
    # The gradient is the depth profile, from the input to the output.
    sites = re.findall(r"(embedding|layer_\d\d|final_norm|head) +[▏▎▍▌▋▊▉█]", text)
    assert sites == ["embedding", "layer_00", "layer_01", "final_norm", "head"]


@pytest.mark.parametrize("width", [60, 80])
def test_events_are_listed_and_their_layers_marked_as_they_come(opening_of, made, width):
    run = Progress(opening_of(), Clock())
    for step in range(20):
        run.take(made.row(step))
    assert "▸" not in drawn(run, width)
    run.events[(5, "spike", "loss")] = made.event(5, end=9)
    run.events[(12, "plateau", "loss")] = made.event(12, "plateau", layers=[])
    text = drawn(run, width)
    assert re.search(r" 5 spike  layer_01 \+1  over at 9 ", text)
    assert re.search(r" 12 plateau ", text)
    assert re.findall(r"▸(\w+)", text) == ["layer_00", "layer_01"]
    assert "last event (2 in all) plateau at step 12" in text and "spike at step" not in text


def test_the_latest_four_events_are_listed(opening_of, made):
    run = Progress(opening_of(), Clock())
    for step in range(20):
        run.take(made.row(step))
        run.events[(step, "spike", "loss")] = made.event(step, layers=["head"] if step < 16 else ["layer_00"])
    text = drawn(run)
    assert re.findall(r" (\d+) spike  ", text) == ["16", "17", "18", "19"]
    assert re.findall(r"▸(\w+)", text) == ["layer_00"]
    assert "(20 in all)" in text


@pytest.mark.parametrize("layer", [1, 5, 47, 94])
def test_a_layer_with_an_event_is_shown_where_there_is_no_room_for_all(opening_of, made, layer):
    run = Progress(opening_of(), Clock())
    layers = {f"grad_norm/layer_{each:02d}": 0.1 for each in range(96)}
    run.take(made.row(0, **layers))
    before = re.findall(r" (layer_\d\d) ", drawn(run))
    run.events[(0, "spike", "loss")] = made.event(0, layers=[f"layer_{layer:02d}"])
    text = drawn(run)
    assert re.findall(r"▸(\w+)", text) == [f"layer_{layer:02d}"]
    after = re.findall(r"[ ▸](layer_\d\d) +[▏▎▍▌▋▊▉█]", text)
    assert len(after) == len(before) and after == sorted(after)
    # Where all layers are marked, those shown stay as evenly spread as they were.
    run.events[(1, "spike", "loss")] = made.event(1, layers=[f"layer_{each:02d}" for each in range(96)])
    assert re.findall(r"▸(layer_\d\d)", drawn(run)) == before


def test_an_event_is_marked_on_the_curve_at_its_step(opening_of, made):
    run = Progress(opening_of(), Clock())
    for step in range(30):
        run.take(made.row(step, **({"loss": math.nan} if step == 20 else {})))
    run.events[(20, "nonfinite", "loss")] = made.event(20, "nonfinite")
    lines = drawn(run).splitlines()
    (axis,) = [line for line in lines if "^" in line]
    # The curve is full where the loss is not finite.
    top = lines[lines.index(next(line for line in lines if "│ loss " in line and "gradient" not in line)) + 3]
    assert top[axis.index("^")] == "█"
    # A finite loss turns yellow there.
    run.events[(10, "spike", "loss")] = made.event(10)
    assert re.search("\x1b\\[33m[▁▂▃▄▅▆▇█]\x1b", drawn(run, color_system="standard"))


@pytest.mark.parametrize(("width", "there"), [(100, False), (120, True)])
def test_a_wide_terminal_has_the_stream_beside_the_gradient(opening_of, made, width, there):
    run = Progress(opening_of(), Clock())
    for step in range(20):
        stream = {"stream/rms/layer_00": 2.0, "stream/rms/layer_01": 20.0, "stream/rms/layer_01/attn": 7.0}
        run.take(made.row(step, **(stream if step == 10 else {})))
    text = drawn(run, width, 30)
    assert ("stream RMS, log 1e0 to 1e2" in text) == there
    # As it was last measured, of the places that have one.
    assert len(re.findall(r"layer_00 .*6.43.* 2.00 ", text)) == there
    assert len(re.findall(r"layer_01 .*6.43.* 20.0 ", text)) == there
    assert re.search(r"head .*6.43 +│", text)
    assert len({len(line) for line in text.splitlines()}) == 1


def test_without_stream_measurements_a_wide_terminal_shows_none(progress):
    assert "stream" not in drawn(progress, 160, 40)


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (120, 40), (200, 60), (40, 12), (20, 5)])
@pytest.mark.parametrize("depth", [1, 12, 96])
def test_it_fits(opening_of, made, width, height, depth):
    run = Progress(opening_of(name="placement=post,warmup=100,optimizer.lr=0.0025,seed=3"), Clock())
    assert max(map(len, drawn(run, width, height).splitlines())) <= width
    layers = {f"grad_norm/layer_{layer:02d}": 10.0**-layer for layer in range(depth)}
    for step in range(30):
        run.take(made.row(step, **layers))
        run.events[(step, "spike", "loss")] = made.event(step)
    lines = drawn(run, width, height).splitlines()
    assert {len(line) for line in lines} == {width}
    if height >= 24:
        assert len(lines) < height
        shown = [line for line in lines if re.search(r"layer_\d\d", line)]
        assert 1 <= len(shown) <= 28
        assert "layer_00" in shown[0] or "layer_01" in shown[0] or depth > 12


def test_up_to_24_layers_are_all_there_on_a_high_terminal(opening_of, made):
    run = Progress(opening_of(), Clock())
    run.take(made.row(0, **{f"grad_norm/layer_{layer:02d}": 0.1 for layer in range(24)}))
    assert len(re.findall(r"layer_\d\d", drawn(run, 120, 50))) == 24


def test_bars_are_on_a_log_scale(opening_of, made):
    run = Progress(opening_of(), Clock())
    norms = {"grad_norm/embedding": 1.0, "grad_norm/layer_00": 1e-2, "grad_norm/layer_01": 1e-4}
    run.take(
        {"step": 0, "loss": 5.0, "lr": 1.0, **norms, "grad_norm/head": 0.0, "grad_norm/final_norm": math.nan}
    )
    text = drawn(run, 120, 40)
    full, half, least = (
        text.split(f"{site} ")[1].split("\n")[0].count("█") for site in ("embedding", "layer_00", "layer_01")
    )
    assert full > 20
    assert abs(half - full / 2) <= 1
    assert least == 0
    assert re.search(r"head +0 ", text)
    assert re.search(r"final_norm +NaN ", text)
    assert "1e-4 to 1e0" in text


def test_what_is_not_finite_is_shown_and_breaks_nothing(opening_of, made):
    run = Progress(opening_of(), Clock())
    for step in range(30):
        bad = math.nan if step > 10 else 5.0
        run.take(
            made.row(step, loss=bad, lr=math.inf, **{"grad_norm/layer_00": bad, "grad_norm/global": bad})
        )
    assert "loss NaN" in drawn(run)
    assert re.search("\x1b\\[31m█+", drawn(run, color_system="standard"))  # red stretches of the curve


def test_without_unicode_it_is_ascii(progress):
    assert drawn(progress, file=Ascii()).isascii()


def test_the_summary_tells_the_run_in_words(opening_of, made):
    console, clock = pipe(100), Clock()
    sink = ConsoleSink(console, clock=clock)
    opening = opening_of()
    sink.open(opening)
    for step in range(30):
        sink.row(made.row(step))
    for step in range(7):
        sink.event(made.event(step))
    clock.now = 28.0
    sync = "wandb sync " + "x" * 150
    sink.close(made.summary(wandb={"mode": "offline", "sync": sync}))
    text = told(console)
    for words in (
        "spiked  trouble that it came back from",
        "5.500 first   2.300 best   2.317 final",
        "0.83 nat below the unigram entropy (3.15)",
        "2.350 best   2.400 final",
        "spike at step 3: the loss jumped to 9",
        "and 3 more, in events.jsonl",
        "10.2k tokens/s, 30 steps in 0:28",
    ):
        assert words in text, words
    # To be copied whole: on a line of their own, however long.
    assert f"run directory: {opening.directory}" in text.splitlines()
    assert f"to wandb: {sync}" in text.splitlines()
    assert f"why: normlab explain {opening.directory}" in text.splitlines()


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (None, False),
        ({"kind": "spike", "end": 6, "recovered": True}, False),
        ({"kind": "spike"}, True),
        ({"kind": "spike", "end": 9, "recovered": False}, True),
        ({"kind": "logit_growth", "end": 9, "recovered": True}, True),
    ],
)
def test_a_stable_run_points_to_why_unless_it_only_spiked_and_came_back(opening_of, made, event, why):
    console = pipe()
    sink = ConsoleSink(console)
    sink.open(opening_of())
    sink.row(made.row(0))
    if event is not None:
        sink.event(made.event(5, **event))
    sink.close(made.summary(outcome="stable"))
    assert ("why: normlab explain" in told(console)) == why


@pytest.mark.parametrize(
    ("resume", "status", "steps", "shown"),
    [
        ("normlab resume", "interrupted", 1, True),
        ("torchrun --nproc-per-node=2 -m normlab resume", "failed", 1, True),
        ("normlab resume", "failed", 0, False),  # it failed before its first step
        ("normlab resume", "finished", 1, False),
        ("", "interrupted", 1, False),  # the sweep tells it
    ],
)
def test_a_stopped_run_ends_with_the_command_that_goes_on(opening_of, made, resume, status, steps, shown):
    console = pipe()
    sink = ConsoleSink(console)
    opening = opening_of(resume=resume)
    sink.open(opening)
    for step in range(steps):
        sink.row(made.row(step))
    sink.close(made.summary(status=status))
    lines = [line for line in told(console).splitlines() if line.startswith("to go on: ")]
    assert lines == [f"to go on: {resume} {opening.directory}"] * shown


def test_a_long_name_is_cut_in_the_middle_so_that_its_hash_is_seen(opening_of, made):
    name = "placement-post_" + "x" * 70 + "-f3c7407e"
    run = Progress(opening_of(name=name), Clock())
    console = pipe()
    sink = ConsoleSink(console)
    sink.open(opening_of(name=name))
    sink.close(made.summary())
    for text in (drawn(run), told(console)):
        [line] = [line for line in text.splitlines() if line.startswith("╭")]
        assert line.startswith("╭─ normlab placement-post_x") and line.endswith("-f3c7407e ─╮")
        assert len(line) == 80 and line.count("...") == 1 and "…" not in line


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"status": "interrupted", "outcome": "stable"}, "interrupted at step 10 of 30, stable so far"),
        ({"status": "failed", "outcome": None}, "failed"),
        ({"status": "finished", "outcome": "nonfinite", "loss/final": math.nan}, "NaN final"),
        ({"status": "finished", "outcome": "exploded", "loss/final": 9.0}, "above ln V (5.55): worse than"),
    ],
)
def test_every_ending_has_its_words(opening_of, made, summary, words):
    console = pipe()
    sink = ConsoleSink(console)
    sink.open(opening_of())
    for step in range(10):
        sink.row(made.row(step))
    sink.close(summary)
    assert words in told(console)


def test_the_summary_says_where_it_began_and_tells_first_what_decided_the_outcome(opening_of, made):
    console = pipe(100)
    sink = ConsoleSink(console)
    sink.open(opening_of())
    for step in range(30):
        sink.row(made.row(step))
    for step, kind in ((4, "vanishing"), (8, "frozen"), (20, "plateau"), (22, "spike"), (25, "frozen")):
        sink.event(made.event(step, kind))
    sink.close(made.summary(outcome="stuck"))
    text = told(console)
    assert re.search(r"first event +vanishing at step 4, in layer_01 ", text)
    assert re.findall(r"(\w+) at step \d+: ", text)[-4:] == ["plateau", "spike", "vanishing", "frozen"]
    assert "and 1 more, in events.jsonl" in text


def test_what_is_told_first_is_what_decides_the_outcome():
    """In the order in which `outcome` asks for it."""
    lasting = {"metric": "loss", "recovered": None, "end": None}
    deciding = {kind: outcome([{"kind": kind, **lasting}]) for kind in KINDS}
    assert set(TELLING) == {kind for kind, word in deciding.items() if word != "stable"}
    ranks = [list(OUTCOMES).index(deciding[kind]) for kind in TELLING]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(("status", "outcome"), [("finished", "stable"), ("interrupted", "stuck")])
def test_only_a_run_that_is_done_and_not_stable_points_to_its_explanation(opening_of, made, status, outcome):
    console = pipe()
    sink = ConsoleSink(console)
    sink.open(opening_of())
    sink.row(made.row(0))
    sink.close(made.summary(status=status, outcome=outcome))
    assert "explain" not in told(console)


def test_losses_beyond_all_bounds_stay_short(opening_of, made):
    console = pipe()
    sink = ConsoleSink(console)
    sink.open(opening_of())
    for step in range(30):
        sink.row(made.row(step, **({"loss": 13437325312.0} if step else {})))
    sink.close(made.summary(outcome="exploded", **{"loss/best": 5.6, "loss/final": 11971051417.915}))
    text = told(console)
    assert "loss 1.3437e+10" in text
    assert "5.500 first   1.1971e+10 final" in text  # the best, a mean, is above the first
    assert "1.1971e+10 nat above ln V" in text


def test_a_run_that_did_not_begin_ends_quietly(opening_of, made):
    console = pipe()
    ConsoleSink(console).close({"status": "failed"})
    assert told(console) == ""
    sink = ConsoleSink(console)
    sink.open(opening_of())
    sink.close({"status": "failed"})
    assert "failed" in told(console)


def test_a_resumed_run_knows_what_was_before(opening_of, made):
    files = RunDirectory({})
    files.open(opening_of())
    for step in range(10):
        files.row(made.row(step))
    files.close({})
    console, clock = pipe(), Clock()
    sink = ConsoleSink(console, clock=clock)
    sink.open(opening_of(first_step=10, resumed=True, events=[made.event(5)]))
    clock.now = 10.0
    sink.row(made.row(10))
    sink.close(made.summary())
    assert "from step 10 to step 30" in told(console)
    assert "5.500 first" in told(console)
    assert "spike at step 5" in told(console)
    assert "(resumed at 10)" in told(console)


def test_a_row_costs_little(opening_of, made):
    sink = ConsoleSink(terminal())
    row = made.row(0) | {
        f"grad_norm/layer_{layer:02d}/{kind}": 1.0 for layer in range(24) for kind in "abcdef"
    }
    sink.open(opening_of())
    times = []
    for step in range(300):
        began = time.perf_counter()
        sink.row(row | {"step": step % 30})
        times.append(time.perf_counter() - began)
    sink.close({"status": "finished"})
    assert sorted(times)[150] < 2e-4
