"use strict";
/* The curves: any metric of the chosen runs over steps, every point of it. */

const SEEDS = Object.entries({ "": "each", mean: "mean" });
/* Distances of ticks on the axis of steps: 1, 2, 5, 10 ... */
const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));

function startCurves() {
  const { controls, drawing } = section("curves");
  if (!report.curves.length) return void drawing.append("There are no rows to draw.");
  const families = Object.fromEntries(report.families.map((each) => [each.name, each.title]));
  const state = {
    metric: report.curves[0].name,
    by: report.runs.length > 1 ? "variant" : "run",
    log: {},
    mean: "",
    zoom: null,
    plot: null,
    turn: 0,
  };
  const frame = element("div", { className: "plot", tabIndex: 0, role: "img" });
  const tip = tooltip(frame);
  const legend = element("ul", { className: "legend" });
  const told = element("output", { "aria-live": "polite" });
  drawing.append(frame, legend, told);

  const variant = (run) =>
    report.knobs
      .filter((name) => name !== "seed")
      .map((name) => `${name}=${run.knobs[name]}`)
      .join(" ") || "all runs";
  const kinds = {
    variant: variant,
    outcome: (run) => run.outcome,
    run: (run) => run.label,
    ...Object.fromEntries(report.knobs.map((name) => [name, (run) => `${name}=${run.knobs[name]}`])),
  };
  // A mean over seeds has no seed, and no one outcome.
  const kind = (run) =>
    kinds[state.mean && ["seed", "outcome", "run"].includes(state.by) ? "variant" : state.by](run);
  const order = () => [...new Set(report.runs.map(kind))];
  const count = (by) => new Set(report.runs.map(kinds[by])).size;
  // More variants than colours are told apart by the knob with the fewest values that still differs.
  if (count("variant") > 2 * COLOURS)
    state.by = report.knobs.filter((name) => name !== "seed" && count(name) > 1)[0] ?? "variant";

  function control() {
    const group = (name) => {
      const cut = name.lastIndexOf("/");
      const family = name.slice(0, cut);
      return cut > 0 && /^(embedding|layer_\d+|final_norm|head)$/.test(name.slice(cut + 1))
        ? (families[family] ?? family)
        : "whole model";
    };
    const options = report.curves.map(({ name }) => [name, name, group(name)]);
    const set = (key) => (value) => {
      state[key] = value;
      draw();
    };
    const parts = [choice("metric", options, state.metric, set("metric"))];
    if (report.runs.length > 1) {
      const colours = Object.keys(kinds)
        .filter((by) => count(by) > 1 || by === state.by)
        .map((by) => [by, by]);
      parts.push(choice("colour by", colours, state.by, set("by")));
    }
    if (count("variant") < report.runs.length) parts.push(choice("seeds", SEEDS, state.mean, set("mean")));
    state.box = tick("log scale", false, (on) => {
      state.log[state.metric] = on;
      draw();
    });
    parts.push(
      state.box,
      element("button", { type: "button", textContent: "All steps", onclick: () => zoom(null) }),
    );
    controls.replaceChildren(...parts);
  }

  async function draw() {
    const turn = ++state.turn;
    const each = chosen.runs().filter((run) => run.curves[state.metric]);
    const read = await Promise.all(each.map((run) => Promise.all(run.curves[state.metric].map(numbers))));
    if (turn !== state.turn) return;
    const [runs, tables] = state.mean ? means(each, read, variant) : [each, read];
    state.log[state.metric] ??= wide(tables);
    const log = state.log[state.metric];
    state.box.firstChild.checked = log;
    const drawable = (value) => (Number.isFinite(value) && (!log || value > 0) ? value : null);
    const columns = tables.map(([steps, values]) => [steps, Array.from(values, drawable)]);
    const data = runs.length ? joined(columns) : [[0]];
    const looks = runs.map((run) => look(order().indexOf(kind(run))));
    Object.assign(state, { runs, tables, looks, focused: 0 });
    state.plot?.destroy();
    tip.hide();
    state.plot = new uPlot(options(runs, looks, log), data, frame);
    frame.append(frame.querySelector(".tip"));
    if (state.zoom) state.plot.setScale("x", state.zoom);
    describe();
  }

  /* Whether a logarithmic axis shows more: all is above 0, and the largest far above the least. */
  function wide(tables) {
    const { low, high } = heatRange(tables.map(([, values]) => values));
    return low > 0 && high > 20 * low;
  }

  function options(runs, looks, log) {
    const { name, unit } = report.curves.find((each) => each.name === state.metric);
    const thin = runs.length > 20 ? 1 : 1.5;
    return {
      ...size(),
      legend: { show: false },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [
        { ...AXIS, label: "step", incrs: WHOLE },
        { ...AXIS, ...VALUES, label: unit ? `${name} (${unit})` : name },
      ],
      series: [
        {},
        ...runs.map((run, place) => ({
          label: run.label,
          stroke: looks[place].colour,
          dash: looks[place].dash,
          width: thin,
          alpha: runs.length > 20 ? 0.6 : 1,
        })),
      ],
      focus: { alpha: 0.18 },
      cursor: {
        drag: { x: true, y: false },
        focus: { prox: 30 },
        points: { one: true, size: 8 },
        dataIdx: (plot, series, at) => (series === 0 ? at : nearest(plot.data[series], at)),
      },
      hooks: {
        setCursor: [point],
        setScale: [(plot, scale) => scale === "x" && remember(plot)],
        setSeries: [
          (_, series) => {
            if (series > 0) state.focused = series - 1;
          },
        ],
        draw: [marks],
      },
    };
  }

  const size = () => ({
    width: frame.clientWidth,
    height: Math.round(Math.max(280, Math.min(460, frame.clientWidth * 0.45))),
  });

  function nearest(values, at) {
    for (let away = 0; away < values.length; away++) {
      if (values[at - away] != null) return at - away;
      if (values[at + away] != null) return at + away;
    }
    return null;
  }

  function remember(plot) {
    const { min, max } = plot.scales.x;
    const steps = plot.data[0];
    const all = min <= steps[0] && max >= steps[steps.length - 1];
    state.zoom = all ? null : { min, max };
  }

  function zoom(range) {
    const steps = state.plot.data[0];
    state.plot.setScale("x", range ?? { min: steps[0], max: steps[steps.length - 1] });
  }

  /* Words at the pointer: the run whose curve is nearest, its step and value, its event if there is one. */
  function point(plot) {
    const { left, top } = plot.cursor;
    if (!state.runs.length || left < 0) return tip.hide();
    if (!state.keys) state.focused = closest(plot, top);
    const place = state.focused;
    const at = plot.cursor.idxs[place + 1];
    if (at == null) return tip.hide();
    const [step, value] = [plot.data[0][at], plot.data[place + 1][at]];
    const run = state.runs[place];
    const happened = run.events
      .filter((event) => event.step === step)
      .map((event) => `${event.kind}: ${event.message}`);
    const text = [run.label, `step ${step}: ${digits(value)}`, ...happened].join("\n");
    const x = plot.valToPos(step, "x") + plot.over.offsetLeft;
    tip.show(text, x, plot.valToPos(value, "y") + plot.over.offsetTop);
    told.textContent = `${run.label}  step ${step}  ${state.metric} ${digits(value)}`;
  }

  function closest(plot, top) {
    let [best, least] = [0, Infinity];
    for (let place = 0; place < state.runs.length; place++) {
      const at = plot.cursor.idxs[place + 1];
      if (at == null) continue;
      const away = Math.abs(plot.valToPos(plot.data[place + 1][at], "y") - top);
      if (away < least) [best, least] = [place, away];
    }
    return best;
  }

  /* Over the curves: floors of the text, events on their run's curve, and crosses where a value is not finite. */
  function marks(plot) {
    const draw = marksOn(plot);
    const texts = new Set(state.runs.map((run) => JSON.stringify(run.floors)));
    if (/^(val\/)?loss$/.test(state.metric) && texts.size === 1) draw.floors(state.runs[0].floors);
    state.runs.forEach((run, place) => {
      const values = plot.data[place + 1];
      const colour = state.looks[place].colour;
      for (const event of run.events) {
        const at = nearest(values, plot.valToIdx(event.step));
        if (at !== null) draw.event(event.step, values[at], colour);
      }
      const [steps, all] = state.tables[place];
      for (let at = 0; at < steps.length; at++) if (!Number.isFinite(all[at])) draw.broken(steps[at], colour);
    });
    draw.done();
  }

  function describe() {
    const drawn = new Set(state.runs.map(kind));
    const items = order().flatMap((each, place) =>
      drawn.has(each) ? [element("li", {}, swatch(look(place)), each)] : [],
    );
    legend.replaceChildren(...(report.runs.length > 1 ? items : []));
    const events = state.runs.some((run) => run.events.length) ? "; a triangle is an event" : "";
    const broken = state.tables.some(([, values]) => values.some((value) => !Number.isFinite(value)))
      ? "; a cross at the top is a value that is not finite"
      : "";
    const what = state.mean ? "mean" : "run";
    const words = `${state.metric} of ${state.runs.length} ${what}${state.runs.length === 1 ? "" : "s"}`;
    frame.setAttribute("aria-label", `${words}, over steps. Arrow keys read values.`);
    told.textContent = state.runs.length ? words + events + broken : `No chosen run has ${state.metric}.`;
  }

  /* The keys: a step to the side, another run, closer, further, all. */
  function key(pressed) {
    const plot = state.plot;
    const steps = plot.data[0];
    const { min, max } = plot.scales.x;
    const at = Math.max(0, plot.cursor.idxs?.[state.focused + 1] ?? plot.valToIdx(min));
    const values = plot.data[state.focused + 1] ?? [];
    const next = (from, by) => {
      for (let place = from + by; place >= 0 && place < steps.length; place += by)
        if (values[place] != null) return place;
      return from;
    };
    const middle = steps[at] ?? (min + max) / 2;
    const around = (share) => ({
      min: Math.max(steps[0], middle - (middle - min) * share),
      max: Math.min(steps[steps.length - 1], middle + (max - middle) * share),
    });
    const acts = {
      ArrowRight: () => move(next(at, 1)),
      ArrowLeft: () => move(next(at, -1)),
      ArrowUp: () => move(at, -1),
      ArrowDown: () => move(at, 1),
      "+": () => zoom(around(0.5)),
      "=": () => zoom(around(0.5)),
      "-": () => zoom(around(2)),
      0: () => zoom(null),
      Escape: () => {
        plot.setCursor({ left: -10, top: -10 });
      },
    };
    if (!(pressed.key in acts) || pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
    pressed.preventDefault();
    acts[pressed.key]();
  }

  function move(at, by = 0) {
    const { plot, runs } = state;
    if (!runs.length) return;
    state.focused = (state.focused + by + runs.length) % runs.length;
    const values = plot.data[state.focused + 1];
    const there = nearest(values, at);
    if (there === null) return;
    state.keys = true;
    plot.setSeries(state.focused + 1, { focus: true }, false);
    plot.setCursor({ left: plot.valToPos(plot.data[0][there], "x"), top: plot.valToPos(values[there], "y") });
    state.keys = false;
  }

  frame.addEventListener("keydown", key);
  new ResizeObserver(
    () => state.plot && state.plot.width !== frame.clientWidth && state.plot.setSize(size()),
  ).observe(frame);
  document.addEventListener("chosen", draw);
  onTheme(() => {
    if (!state.plot) return;
    state.looks = state.runs.map((run) => look(order().indexOf(kind(run))));
    state.runs.forEach((_, place) => (state.plot.series[place + 1].stroke = () => state.looks[place].colour));
    state.plot.redraw(false, true);
    describe();
  });
  control();
  return draw();
}
