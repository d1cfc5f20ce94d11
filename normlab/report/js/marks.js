"use strict";
/* What is drawn over curves: floors of the text, events, values that are not finite; and the mean over seeds. */

/* Draws on the canvas of a uPlot, inside its frame; `done` at the end. */
function marksOn(plot) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const x = (step) => plot.valToPos(step, "x", true);
  const y = (value) => plot.valToPos(value, "y", true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();

  function floors(known) {
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    let [above, right] = [-Infinity, 0];
    for (const [name, value] of Object.entries(known).sort((a, b) => b[1] - a[1])) {
      const height = y(value);
      const text = `${name === "uniform" ? "ln V" : name.replace("_", " ")} ${value.toFixed(3)}`;
      // Beside the one above where they would overlap.
      right = height - above < 14 * ratio ? right : bbox.left + bbox.width - 6 * ratio;
      line(height);
      halo(text, right, height - 2 * ratio);
      [above, right] = [height, right - ctx.measureText(text).width - 14 * ratio];
    }
  }

  function line(height) {
    ctx.strokeStyle = css("--muted");
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, height);
    ctx.lineTo(bbox.left + bbox.width, height);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /* Words that can be read over curves. */
  function halo(text, right, bottom) {
    ctx.strokeStyle = css("--page");
    ctx.lineWidth = 4 * ratio;
    ctx.strokeText(text, right, bottom);
    ctx.fillStyle = css("--muted");
    ctx.fillText(text, right, bottom);
  }

  /* A triangle that points at a value. */
  function event(step, value, colour) {
    const [left, top] = [x(step), y(value)];
    ctx.fillStyle = colour;
    ctx.beginPath();
    ctx.moveTo(left, top - 2 * ratio);
    ctx.lineTo(left - 5 * ratio, top - 11 * ratio);
    ctx.lineTo(left + 5 * ratio, top - 11 * ratio);
    ctx.fill();
  }

  /* A cross at the top. */
  function broken(step, colour) {
    const [left, top] = [x(step), bbox.top + 7 * ratio];
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5 * ratio;
    ctx.beginPath();
    for (const turn of [-4 * ratio, 4 * ratio]) {
      ctx.moveTo(left - 4 * ratio, top - turn);
      ctx.lineTo(left + 4 * ratio, top + turn);
    }
    ctx.stroke();
  }

  return { floors, event, broken, done: () => ctx.restore() };
}

/* Tables of [steps, values] on the steps of all of them, as uPlot takes them: [steps, values, values, ...]. */
function joined(tables) {
  const [first] = tables;
  const same = tables.every(([steps]) => steps === first[0]);
  return same ? [first[0], ...tables.map(([, values]) => values)] : uPlot.join(tables);
}

/* The mean of each kind of runs, at the steps that all its runs have; not finite where one of them is not. */
function means(runs, tables, kind) {
  const found = new Map();
  runs.forEach((run, place) => found.set(kind(run), [...(found.get(kind(run)) ?? []), place]));
  const groups = [...found];
  const made = groups.map(([label, members]) => ({
    ...runs[members[0]],
    events: [],
    label: `${label} (mean of ${members.length})`,
  }));
  const averaged = groups.map(([, members]) => {
    const [steps, ...values] = joined(members.map((place) => tables[place]));
    const shared = Array.from(steps.keys()).filter((at) => values.every((each) => each[at] !== undefined));
    const mean = shared.map((at) => values.reduce((sum, each) => sum + each[at], 0) / values.length);
    return [shared.map((at) => steps[at]), mean];
  });
  return [made, averaged];
}
