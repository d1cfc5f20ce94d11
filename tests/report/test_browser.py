"""The page in a real Chromium, with the mouse and with the keyboard."""

import json
import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from normlab.disk.strict_json import line_of
from normlab.report.report import PageTarget, print_report
from normlab.runs.reader import load

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'normlab[browser]'")

pytestmark = pytest.mark.browser
BENCH = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "report_bench.py"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed")
    # Its sandbox does not work for root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=found, args=flags)
        yield made
        made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four warm-ups with two seeds, 60 steps, 4 layers; without warm-up they explode at step 20."""
    folder = tmp_path_factory.mktemp("page")
    BENCH["make_sweep"](folder / "sweep", 8, 60, 4)
    print_report([folder / "sweep"], PageTarget(path=folder / "report.html"))
    return folder / "report.html"


@pytest.fixture
def open_page(browser):
    """`open_page(path, width=..., ...)`: a tab in which all is drawn; fails if the console said anything."""
    said, contexts = [], []

    def opened(path, width=1400, height=900, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(10_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: request.url == path.as_uri() or said.append(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_selector("html[data-drawn=yes]")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def tab(open_page, made):
    return open_page(made)


def curves_shown(tab):
    return tab.evaluate("report.runs.filter((run) => chosen.runs().includes(run)).map((run) => run.label)")


def redrawn(tab, words):
    tab.wait_for_function(
        "words => document.querySelector('#curves output').textContent.startsWith(words)", arg=words
    )


def test_it_loads_without_a_word_in_the_console_in_every_size_and_theme(open_page, made):
    for width in (1400, 400):
        for scheme in ("light", "dark"):
            tab = open_page(made, width=width, color_scheme=scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("canvas").count() >= 3


def test_the_browser_unpacks_what_was_packed(tab, made):
    page = made.parent / "sweep"
    [first, *_] = tab.evaluate("report.runs.map((run) => run.curves.loss[1])")
    values = tab.evaluate("async (blob) => Array.from(await numbers(blob))", first)
    assert values == np.float32(load(page)[0].rows["loss"].tolist()).tolist()


def test_hovering_over_a_curve_shows_its_value(tab):
    over = tab.locator("#curves .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = tab.locator("#curves .tip")
    assert tip.is_visible()
    label, value = tip.inner_text().split("\n")[:2]
    step, number = value.removeprefix("step ").split(": ")
    [run] = [run for run in tab.evaluate("report.runs") if run["label"] == label]
    values = tab.evaluate("async (blob) => Array.from(await numbers(blob))", run["curves"]["loss"][1])
    assert 20 <= int(step) <= 40
    assert float(number) == pytest.approx(values[int(step)], rel=1e-3)


def test_the_mouse_zooms_and_a_double_click_shows_all(tab):
    over = tab.locator("#curves .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    y = box["y"] + box["height"] / 2

    tab.mouse.move(box["x"] + 0.5 * box["width"], y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.75 * box["width"], y, steps=4)
    tab.mouse.up()
    tab.mouse.move(box["x"] + 3, y)
    near = int(tab.locator("#curves .tip").inner_text().split("step ")[1].split(":")[0])
    assert near >= 29
    tab.mouse.dblclick(box["x"] + 0.5 * box["width"], y)
    tab.mouse.move(box["x"] + 3, y)
    assert int(tab.locator("#curves .tip").inner_text().split("step ")[1].split(":")[0]) <= 1


def test_filters_choose_runs_everywhere(tab):
    assert len(curves_shown(tab)) == 8
    tab.locator("#chosen").get_by_label("exploded").uncheck()
    redrawn(tab, "loss of 6 runs")
    assert all("warmup=0 " not in label for label in curves_shown(tab))
    assert tab.locator("#chosen .count").inner_text() == "6 of 8 runs"
    assert tab.locator("details.run[id]:visible").count() == 6
    assert tab.locator("#events .mark").count() == 0
    options = tab.locator("#depth").get_by_label("run").locator("option").all_inner_texts()
    assert len(options) == 6 and not any("exploded" in option for option in options)
    tab.get_by_role("button", name="Show all").click()
    redrawn(tab, "loss of 8 runs")
    for value in ("50", "100"):
        tab.locator("#chosen").get_by_label(value, exact=True).uncheck()
    redrawn(tab, "loss of 4 runs")
    tab.locator("#chosen").get_by_label("50", exact=True).check()
    redrawn(tab, "loss of 6 runs")


def test_a_cell_of_the_grid_shows_its_runs_alone_and_then_all(tab):
    cell = tab.locator("#outcomes .cell").first
    cell.click()
    redrawn(tab, "loss of 2 runs")
    assert cell.get_attribute("aria-pressed") == "true"
    assert all("warmup=0 " in label for label in curves_shown(tab))
    cell.click()
    redrawn(tab, "loss of 8 runs")


def test_the_grid_goes_over_the_knobs_that_are_chosen(tab):
    tab.locator("#outcomes").get_by_label("rows").select_option("seed")
    tab.locator("#outcomes").get_by_label("columns").select_option("warmup")
    heads = tab.locator("#outcomes th").all_inner_texts()
    assert heads == ["warmup=0", "warmup=50", "warmup=100", "warmup=200", "seed=0", "seed=1"]
    assert tab.locator("#outcomes .cell").first.inner_text().startswith("1 exploded")


def test_any_metric_can_be_drawn_and_on_either_scale(tab):
    tab.locator("#curves").get_by_label("metric").select_option("grad_norm/layer_02")
    redrawn(tab, "grad_norm/layer_02 of 8 runs")
    box = tab.locator("#curves").get_by_label("log scale")
    was = box.is_checked()
    box.set_checked(not was)
    assert box.is_checked() != was


def test_seeds_can_be_drawn_as_their_mean(tab):
    tab.locator("#curves").get_by_label("seeds").select_option("mean")
    redrawn(tab, "loss of 4 means")
    first, second = (
        tab.evaluate("async (run) => Array.from(await numbers(report.runs[run].curves.loss[1]))", number)
        for number in tab.evaluate(
            "report.runs.filter((run) => run.knobs.warmup === '0').map((run) => run.number)"
        )
    )
    tab.locator("#curves .plot").focus()
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    told = tab.locator("#curves output").inner_text()
    assert told.startswith("warmup=0 (mean of 2) step 5 loss ")
    assert float(told.split()[-1]) == pytest.approx((first[5] + second[5]) / 2, rel=1e-3)


def test_the_keyboard_reaches_every_part_and_reads_curves(tab):
    tab.locator("#curves .plot").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    told = tab.locator("#curves output")
    first = tab.evaluate("report.runs[0].label")
    assert told.inner_text().startswith(first) and " step 3 " in told.inner_text()
    tab.keyboard.press("ArrowDown")
    second = tab.evaluate("report.runs[1].label")
    assert told.inner_text().startswith(second) and " step 3 " in told.inner_text()
    tab.keyboard.press("+")
    tab.keyboard.press("0")
    tab.locator("nav a").first.focus()
    seen = []
    for _ in range(80):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate("document.activeElement.closest('section')?.id"))
    order = list(dict.fromkeys(seen))
    wanted = ["outcomes", "comparison", "chosen", "curves", "depth", "events", "settings", "runs"]
    assert [name for name in order if name in wanted] == wanted


def test_arrows_move_in_the_grid_and_the_tab_key_leaves_it(tab):
    tab.locator("#outcomes").get_by_label("rows").select_option("seed")
    tab.locator("#outcomes").get_by_label("columns").select_option("warmup")
    assert tab.locator("#outcomes .cell[tabindex='0']").count() == 1

    def place():
        return tab.evaluate("[...document.querySelectorAll('.cell')].indexOf(document.activeElement)")

    tab.locator("#outcomes .cell").first.focus()
    for key, there in (("ArrowLeft", 0), ("ArrowUp", 0), ("End", 7), ("ArrowUp", 3), ("ArrowRight", 3)):
        tab.keyboard.press(key)
        assert place() == there, key
    for key, there in (("ArrowLeft", 2), ("ArrowDown", 6), ("ArrowDown", 6), ("Home", 0), ("ArrowRight", 1)):
        tab.keyboard.press(key)
        assert place() == there, key
    tab.keyboard.press("Enter")
    redrawn(tab, "loss of 1 run")
    assert curves_shown(tab) == ["warmup=50 seed=0"]
    tab.keyboard.press("Tab")
    assert place() == -1


def test_what_has_the_focus_is_outlined(tab):
    tab.keyboard.press("Tab")
    style = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


NAMELESS = """
[...document.querySelectorAll("button, select, input, [role=region], [role=img], canvas")]
  .filter((each) => !each.closest("[aria-hidden], .uplot"))
  .filter((each) => !each.getAttribute("aria-label") && !(each.closest("label") ?? each).textContent.trim())
  .map((each) => each.outerHTML)
"""


def test_every_control_has_a_name(tab):
    assert tab.evaluate(NAMELESS) == []


def test_the_slider_shows_the_profile_of_its_step(tab):
    slider = tab.locator("#depth input[type=range]")
    slider.focus()
    for _ in range(7):
        tab.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "step 7"
    assert tab.locator("#depth h3").last.inner_text() == "Gradient norm over depth, step 7"
    drawn = tab.evaluate("""async () => {
        const { values, places, edges } = report.runs[0].maps.grad_norm;
        const columns = (await numbers(edges)).length - 1, table = await numbers(values);
        return [0, places.length - 1].map((line) => digits(table[line * columns + 7]));
    }""")
    told = tab.locator("#depth output").inner_text()
    assert told == f"step 7: embedding {drawn[0]}, head {drawn[1]}"


def test_two_runs_stand_beside_one_another(tab):
    part = tab.locator("#depth")
    part.get_by_label("beside").select_option(index=3)
    part.get_by_label("measured").select_option("stream/rms")
    tab.wait_for_function("document.querySelectorAll('#depth canvas.map').length === 2")
    assert tab.locator("#depth h3").first.inner_text().startswith("Residual stream: ")


def test_an_event_opens_its_run(tab):
    mark = tab.locator("#events .mark").first
    assert "explosion" in mark.get_attribute("aria-label")
    mark.focus()
    tab.keyboard.press("Enter")
    number = tab.evaluate("report.runs.findIndex((run) => run.events.length)")
    assert tab.locator(f"#run-{number}").get_attribute("open") is not None
    assert tab.locator(f"#run-{number} code").first.inner_text().startswith("normlab train ")


def test_in_print_there_are_no_controls_and_all_is_on_white(open_page, made):
    tab = open_page(made, color_scheme="dark")
    tab.emulate_media(media="print")
    assert not tab.locator("select:visible, button.copy:visible, input:visible").count()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf().startswith(b"%PDF")


def test_words_of_runs_run_nowhere(open_page, tmp_path, write, layers, event):
    text = """</script><script>alert(1)</script><img src=x onerror=alert(2)>" onload="alert(3)"""
    for seed in range(2):
        path = write(tmp_path / f"run-{seed}", 2.5, seed=seed, model__positions=text + str(seed))
        layers(path, lambda row: row.update({text: 1.0, f"{text}/layer_00": 1.0, f"{text}/layer_01": 2.0}))
        happened = event(kind=text, metric=text, layers=[text], message=text)
        (path / "events.jsonl").write_bytes(line_of(happened))
    print_report([tmp_path], PageTarget(path=tmp_path / "page.html", title=text))
    tab = open_page(tmp_path / "page.html")
    assert tab.locator("img").count() == 0 and tab.title() == text
    for part, label, value in (("curves", "metric", text), ("depth", "measured", text)):
        tab.locator(f"#{part}").get_by_label(label).select_option(value)
    redrawn(tab, f"{text} of 2 runs")
    tab.locator("#events .mark").first.hover()
    assert text in tab.locator("#events output").inner_text()
    assert tab.locator("#outcomes th[scope=row]").first.inner_text() == f"model.positions={text}0"


def lost(path):
    (path / "metrics.jsonl").unlink()


def broken(path):
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows[10:]:
        row |= {"loss": "NaN", "grad_norm/layer_00": "Infinity", "grad_norm/layer_01": 0.0}
    (path / "metrics.jsonl").write_bytes(b"".join(map(line_of, rows)))


def single(path):
    lines = (path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (path / "metrics.jsonl").write_bytes(lines[0])


@pytest.mark.parametrize("harm", [lost, broken, single])
@pytest.mark.parametrize("count", [1, 3])
def test_damaged_runs_are_drawn_as_far_as_they_go(open_page, tmp_path, write, layers, harm, count):
    for seed in range(count):
        layers(write(tmp_path / f"run-{seed}", 2.5, seed=seed))
    harm(tmp_path / "run-0")
    print_report([tmp_path], PageTarget(path=tmp_path / "page.html"))
    tab = open_page(tmp_path / "page.html")
    drawn = count if harm is not lost else count - 1
    assert tab.locator("#depth canvas.map").count() == min(drawn, 1)
    if drawn:
        assert tab.locator("#curves output").inner_text().startswith(f"loss of {drawn} run")
        said = tab.locator("#depth p").first.inner_text()
        assert ("Orange is not finite." in said) == (harm is broken)


@pytest.mark.slow
def test_a_hundred_runs_of_a_thousand_steps_open_within_two_seconds(tmp_path):
    BENCH["make_sweep"](tmp_path / "sweep", 100, 1000, 12)
    print_report([tmp_path / "sweep"], PageTarget(path=tmp_path / "report.html"))
    assert (tmp_path / "report.html").stat().st_size < 10e6
    assert BENCH["opening_times"](tmp_path / "report.html")["drawn"] < 2
