"use strict";
/* Heat maps layer by step, and the profile over depth at the step of the slider. */

function startDepth() {
  const { controls, drawing } = section("depth");
  const measured = report.runs.filter((run) => Object.keys(run.maps).length);
  if (!measured.length)
    return void drawing.append(
      "These runs have no measurement of each layer; measure.grad_norm=1 makes one.",
    );
  const state = {
    family: report.families[0].name,
    run: null,
    beside: null,
    step: null,
    turn: 0,
  };
  const maps = element("div");
  const side = element("div");
  const title = element("h3");
  const frame = element("div", { className: "plot" });
  const profile = profileOn(frame);
  const told = element("output", { "aria-live": "polite" });
  side.append(title, frame);
  drawing.append(
    element("div", { className: "maps" }, maps, side),
    told,
    element("p", { className: "caption" }),
  );
  const family = () => report.families.find((each) => each.name === state.family);

  function control() {
    const runs = chosen.runs().filter((run) => run.maps[state.family]);
    if (!runs.includes(state.run)) state.run = runs[0] ?? null;
    if (!runs.includes(state.beside) || state.beside === state.run) state.beside = null;
    const options = runs.map((run) => [String(run.number), `${run.label} (${run.outcome})`]);
    const of = (number) => report.runs[Number(number)];
    const parts = [
      choice(
        "measured",
        report.families.map((each) => [
          each.name,
          each.title === each.name ? each.name : `${each.title} (${each.name})`,
        ]),
        state.family,
        (name) => {
          state.family = name;
          update();
        },
      ),
    ];
    if (report.runs.length > 1) {
      parts.push(
        choice("run", options, String(state.run?.number ?? ""), (number) => {
          state.run = of(number);
          update();
        }),
      );
      parts.push(
        choice(
          "beside",
          [["", "none"], ...options.filter(([number]) => number !== String(state.run?.number))],
          String(state.beside?.number ?? ""),
          (number) => {
            state.beside = number ? of(number) : null;
            update();
          },
        ),
      );
    }
    controls.replaceChildren(...parts);
  }

  async function update() {
    const held = document.activeElement?.closest?.("#depth .field")?.firstChild.textContent;
    control();
    // Controls are made anew: the one that was used keeps the focus.
    if (held)
      [...controls.children]
        .find((each) => each.firstChild.textContent === held)
        ?.querySelector("select")
        .focus();
    const turn = ++state.turn;
    const shown = [state.run, state.beside].filter(Boolean);
    const read = await Promise.all(
      shown.map(async (run) => {
        const { edges, values, places, each } = run.maps[state.family];
        return { run, places, each, edges: await numbers(edges), values: await numbers(values) };
      }),
    );
    if (turn !== state.turn) return;
    state.maps = read;
    state.range = heatRange(read.map((map) => map.values));
    state.step ??= 0;
    layout();
  }

  /* The canvases, the bar of colours and the slider. */
  function layout() {
    const { title: name, unit, falls } = family();
    if (!state.maps.length) return void maps.replaceChildren("No chosen run has this measurement.");
    const longest = state.maps.reduce((a, b) => (b.edges.at(-1) > a.edges.at(-1) ? b : a));
    const parts = state.maps.flatMap((map, k) => {
      map.canvas = element("canvas", {
        className: "map",
        role: "img",
        "aria-label": `${name} of ${map.run.label}, by layer and step`,
      });
      hover(map);
      const head = element(
        "h3",
        {},
        ...(state.maps.length > 1 ? [swatch(profileLook(k))] : []),
        report.runs.length > 1 ? `${name}: ${map.run.label}` : name,
      );
      return [head, map.canvas];
    });
    state.slider = element("input", {
      type: "range",
      min: 0,
      max: longest.edges.length - 2,
      step: 1,
      "aria-label": "step",
      oninput: () => pick(longest.edges[state.slider.value]),
    });
    state.longest = longest;
    maps.replaceChildren(...parts, element("div", { className: "slider" }, state.slider), bar(unit));
    const each = Math.max(...state.maps.map((map) => map.each));
    const thinned = each > 1 ? ` A column is the ${falls ? "least" : "largest"} of ${each} readings.` : "";
    const broken = state.maps.some((map) => map.values.some((value) => !Number.isFinite(value)))
      ? " Orange is not finite."
      : "";
    const zero =
      state.range.log && state.maps.some((map) => map.values.some((value) => value === 0))
        ? " Black is zero."
        : "";
    drawing.querySelector("p").textContent =
      `The input of the model is at the bottom. Triangles are events, dots the layer where they began.${broken}${zero}${thinned}`;
    pick(state.step);
  }

  function bar(unit) {
    const { low, high, log } = state.range;
    const strip = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    const ctx = strip.getContext("2d");
    for (let at = 0; at < 256; at++) {
      ctx.fillStyle = heatColour(at / 255);
      ctx.fillRect(at, 0, 1, 1);
    }
    return element(
      "div",
      { className: "bar" },
      digits(low, 3),
      strip,
      `${digits(high, 3)}  ${unit}${log ? ", log scale" : ""}`,
    );
  }

  function pick(step) {
    state.step = step;
    const column = columnAt(state.longest, step);
    state.slider.value = column;
    state.slider.setAttribute("aria-valuetext", span(state.longest, column));
    state.maps.forEach((map) => drawHeat(map.canvas, map, state.range, columnAt(map, step), map.run.events));
    const at = span(state.longest, column);
    title.textContent = `${family().title} over depth, ${at}`;
    told.textContent = `${at}: ${profile.show(state.maps, state.range, step, family())}`;
  }

  /* The pointer over a map says what is there; pressed, it moves the slider. */
  function hover(map) {
    const where = (moved) => {
      const box = map.canvas.getBoundingClientRect();
      const place = heatFrame(map.canvas, map);
      return { column: place.column(moved.clientX - box.left), line: place.line(moved.clientY - box.top) };
    };
    map.canvas.onpointermove = (moved) => {
      const { column, line } = where(moved);
      if (map.places[line] === undefined) return;
      const value = map.values[line * (map.edges.length - 1) + column];
      told.textContent = `${map.places[line]}, ${span(map, column)}: ${digits(value)}`;
      if (moved.buttons) pick(map.edges[column]);
    };
    map.canvas.onpointerdown = (pressed) => {
      map.canvas.setPointerCapture(pressed.pointerId);
      pick(map.edges[where(pressed).column]);
    };
  }

  const redraw = () =>
    state.maps.forEach((map) =>
      drawHeat(map.canvas, map, state.range, columnAt(map, state.step), map.run.events),
    );
  new ResizeObserver(() => profile.fit() && redraw()).observe(frame);
  document.addEventListener("chosen", update);
  onTheme(() => state.maps?.length && layout());
  return update();
}
