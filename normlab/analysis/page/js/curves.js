"use strict";
/* The curves: any metric of the chosen runs over steps, every point of it. */

function startCurves() {
  const { controls, drawing } = section("curves");
  if (!report.curves.length) return void drawing.append("There are no rows to draw.");
  const families = Object.fromEntries(report.families.map((each) => [each.name, each.title]));
  const state = { metric: report.curves[0].name, by: report.runs.length > 1 ? "variant" : "run", log: {}, zoom: null, plot: null, turn: 0 };
  const frame = element("div", { className: "plot", tabIndex: 0, role: "img" });
  const tip = tooltip(frame);
  const legend = element("ul", { className: "legend" });
  const told = element("output", { "aria-live": "polite" });
  drawing.append(frame, legend, told);

  const variant = (run) => report.knobs.filter((name) => name !== "seed").map((name) => `${name}=${run.knobs[name]}`).join(" ") || "all runs";
  const kinds = {
    variant: variant,
    outcome: (run) => run.outcome,
    run: (run) => run.label,
    ...Object.fromEntries(report.knobs.map((name) => [name, (run) => `${name}=${run.knobs[name]}`])),
  };
  const count = (by) => new Set(report.runs.map(kinds[by])).size;
  // More variants than colours are told apart by the knob with the fewest values that still differs.
  if (count("variant") > 2 * COLOURS) state.by = report.knobs.filter((name) => name !== "seed" && count(name) > 1)[0] ?? "variant";

  function control() {
    const group = (name) => {
      const cut = name.lastIndexOf("/");
      const family = name.slice(0, cut);
      return cut > 0 && /^(embedding|layer_\d+|final_norm|head)$/.test(name.slice(cut + 1)) ? families[family] ?? family : "whole model";
    };
    const options = report.curves.map(({ name }) => [name, name, group(name)]);
    const parts = [choice("metric", options, state.metric, (name) => { state.metric = name; draw(); })];
    if (report.runs.length > 1) {
      const colours = Object.keys(kinds).filter((by) => count(by) > 1 || by === state.by).map((by) => [by, by]);
      parts.push(choice("colour by", colours, state.by, (by) => { state.by = by; draw(); }));
    }
    state.box = tick("log scale", false, (on) => { state.log[state.metric] = on; draw(); });
    parts.push(state.box, element("button", { type: "button", textContent: "All steps", onclick: () => zoom(null) }));
    controls.replaceChildren(...parts);
  }

  async function draw() {
    const turn = ++state.turn;
    const runs = chosen.runs().filter((run) => run.curves[state.metric]);
    const tables = await Promise.all(runs.map((run) => Promise.all(run.curves[state.metric].map(numbers))));
    if (turn !== state.turn) return;
    state.log[state.metric] ??= wide(tables);
    const log = state.log[state.metric];
    state.box.firstChild.checked = log;
    const drawable = (value) => (Number.isFinite(value) && (!log || value > 0) ? value : null);
    const columns = tables.map(([steps, values]) => [steps, Array.from(values, drawable)]);
    const same = new Set(runs.map((run) => run.curves[state.metric][0])).size <= 1;
    const data = !runs.length ? [[0]] : same ? [columns[0][0], ...columns.map((column) => column[1])] : uPlot.join(columns);
    const seen = [...new Set(report.runs.map(kinds[state.by]))];
    const looks = runs.map((run) => look(seen.indexOf(kinds[state.by](run))));
    Object.assign(state, { runs, tables, looks, focused: 0 });
    state.plot?.destroy();
    tip.hide();
    state.plot = new uPlot(options(runs, looks, log), data, frame);
    frame.append(frame.querySelector(".tip"));
    if (state.zoom) state.plot.setScale("x", state.zoom);
    describe(seen);
  }

  /* Whether a logarithmic axis shows more: all above 0, and the largest far above the middle ones or the least. */
  function wide(tables) {
    const all = tables.flatMap(([, values]) => Array.from(values).filter(Number.isFinite)).sort((a, b) => a - b);
    if (!all.length || all[0] <= 0) return false;
    return all.at(-1) > 20 * all[0];
  }

  function options(runs, looks, log) {
    const { name, unit } = report.curves.find((each) => each.name === state.metric);
    const axis = { stroke: () => css("--muted"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line"), width: 1 }, font: FONT, labelFont: FONT, labelSize: 18 };
    const thin = runs.length > 20 ? 1 : 1.5;
    return {
      ...size(),
      legend: { show: false },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [
        { ...axis, label: "step", incrs: [1, 2, 5].flatMap((each) => [0, 1, 2, 3, 4, 5, 6, 7].map((power) => each * 10 ** power)).sort((a, b) => a - b) },
        { ...axis, label: unit ? `${name} (${unit})` : name, size: 62, values: (_, splits) => splits.map((value) => (value === null ? "" : digits(value, 3))) },
      ],
      series: [{}, ...runs.map((run, place) => ({ label: run.label, stroke: looks[place].colour, dash: looks[place].dash, width: thin, alpha: runs.length > 20 ? 0.6 : 1 }))],
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
        setSeries: [(_, series) => { if (series > 0) state.focused = series - 1; }],
        draw: [marks],
      },
    };
  }

  const size = () => ({ width: frame.clientWidth, height: Math.round(Math.max(280, Math.min(460, frame.clientWidth * 0.45))) });

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
    const happened = run.events.filter((event) => event.step === step).map((event) => `${event.kind}: ${event.message}`);
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
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    if (/^(val\/)?loss$/.test(state.metric)) floors(plot, ratio);
    state.runs.forEach((run, place) => {
      ctx.fillStyle = ctx.strokeStyle = state.looks[place].colour;
      const values = plot.data[place + 1];
      for (const event of run.events) {
        const at = nearest(values, plot.valToIdx(event.step));
        if (at !== null) triangle(ctx, plot.valToPos(event.step, "x", true), plot.valToPos(values[at], "y", true), ratio);
      }
      const [steps, all] = state.tables[place];
      for (let at = 0; at < steps.length; at++)
        if (!Number.isFinite(all[at])) cross(ctx, plot.valToPos(steps[at], "x", true), bbox.top + 7 * ratio, ratio);
    });
    ctx.restore();
  }

  function floors(plot, ratio) {
    const { ctx, bbox } = plot;
    const texts = new Set(state.runs.map((run) => JSON.stringify(run.floors)));
    if (texts.size !== 1) return;
    ctx.strokeStyle = ctx.fillStyle = css("--muted");
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    let [above, right] = [-Infinity, 0];
    for (const [name, value] of Object.entries(state.runs[0].floors).sort((a, b) => b[1] - a[1])) {
      const y = plot.valToPos(value, "y", true);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      const text = `${name === "uniform" ? "ln V" : name.replace("_", " ")} ${value.toFixed(3)}`;
      // Beside the one above where they would overlap.
      right = y - above < 14 * ratio ? right : bbox.left + bbox.width - 6 * ratio;
      // A halo, so that it can be read over curves.
      ctx.save();
      ctx.setLineDash([]);
      ctx.strokeStyle = css("--page");
      ctx.lineWidth = 4 * ratio;
      ctx.strokeText(text, right, y - 2 * ratio);
      ctx.restore();
      ctx.fillText(text, right, y - 2 * ratio);
      [above, right] = [y, right - ctx.measureText(text).width - 14 * ratio];
    }
    ctx.setLineDash([]);
  }

  function triangle(ctx, x, y, ratio) {
    ctx.beginPath();
    ctx.moveTo(x, y - 2 * ratio);
    ctx.lineTo(x - 5 * ratio, y - 11 * ratio);
    ctx.lineTo(x + 5 * ratio, y - 11 * ratio);
    ctx.fill();
  }

  function cross(ctx, x, y, ratio) {
    ctx.lineWidth = 1.5 * ratio;
    ctx.beginPath();
    for (const turn of [-1, 1]) {
      ctx.moveTo(x - 4 * ratio, y - 4 * turn * ratio);
      ctx.lineTo(x + 4 * ratio, y + 4 * turn * ratio);
    }
    ctx.stroke();
  }

  function describe(seen) {
    const shown = seen.filter((kind) => state.runs.some((run) => kinds[state.by](run) === kind));
    legend.replaceChildren(...(report.runs.length > 1 ? shown.map((kind) => item(kind, look(seen.indexOf(kind)))) : []));
    const events = state.runs.some((run) => run.events.length) ? "; a triangle is an event" : "";
    const broken = state.tables.some(([, values]) => values.some((value) => !Number.isFinite(value))) ? "; a cross at the top is a value that is not finite" : "";
    const words = `${state.metric} of ${state.runs.length} ${state.runs.length === 1 ? "run" : "runs"}`;
    frame.setAttribute("aria-label", `${words}, over steps. Arrow keys read values.`);
    told.textContent = state.runs.length ? words + events + broken : `No chosen run has ${state.metric}.`;
  }

  function item(kind, { colour, dash }) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("aria-hidden", "true");
    for (const [name, value] of Object.entries({ x1: 0, y1: 5, x2: 26, y2: 5, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") })) stroke.setAttribute(name, value);
    line.append(stroke);
    return element("li", {}, line, kind);
  }

  /* The keys: a step to the side, another run, closer, further, all. */
  function key(pressed) {
    const plot = state.plot;
    const steps = plot.data[0];
    const { min, max } = plot.scales.x;
    const at = Math.max(0, plot.cursor.idxs?.[state.focused + 1] ?? plot.valToIdx(min));
    const values = plot.data[state.focused + 1] ?? [];
    const next = (from, by) => {
      for (let place = from + by; place >= 0 && place < steps.length; place += by) if (values[place] != null) return place;
      return from;
    };
    const middle = steps[at] ?? (min + max) / 2;
    const around = (share) => ({ min: Math.max(steps[0], middle - (middle - min) * share), max: Math.min(steps[steps.length - 1], middle + (max - middle) * share) });
    const acts = {
      ArrowRight: () => move(next(at, 1)),
      ArrowLeft: () => move(next(at, -1)),
      ArrowUp: () => move(at, -1),
      ArrowDown: () => move(at, 1),
      "+": () => zoom(around(0.5)),
      "=": () => zoom(around(0.5)),
      "-": () => zoom(around(2)),
      0: () => zoom(null),
      Escape: () => { plot.setCursor({ left: -10, top: -10 }); },
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
  new ResizeObserver(() => state.plot && state.plot.width !== frame.clientWidth && state.plot.setSize(size())).observe(frame);
  document.addEventListener("chosen", draw);
  onTheme(() => {
    if (!state.plot) return;
    const seen = [...new Set(report.runs.map(kinds[state.by]))];
    state.looks = state.runs.map((run) => look(seen.indexOf(kinds[state.by](run))));
    state.runs.forEach((_, place) => (state.plot.series[place + 1].stroke = () => state.looks[place].colour));
    state.plot.redraw(false, true);
    describe(seen);
  });
  control();
  return draw();
}
