"use strict";
/* The grid of outcomes over two knobs. */

function startOutcomes() {
  const { controls, drawing } = section("outcomes") ?? {};
  if (!drawing) return;
  const NONE = "";
  const knobs = report.knobs.filter((name) => (chosen.facets[name] ?? []).length > 1);
  const most = knobs
    .filter((name) => name !== "seed")
    .sort((a, b) => chosen.facets[b].length - chosen.facets[a].length);
  let [down, across] = [most[0], most[1] ?? NONE];
  const options = knobs.map((name) => [name, name]);

  function draw() {
    controls.replaceChildren(
      choice("rows", options, down, (name) => {
        if (name === across) across = down;
        down = name;
        draw();
      }),
      choice("columns", [[NONE, "none"], ...options], across, (name) => {
        if (name === down) down = across || (knobs.find((other) => other !== name) ?? down);
        across = name;
        draw();
      }),
    );
    const columns = across ? chosen.facets[across] : [NONE];
    const cells = [];
    const head = element(
      "tr",
      {},
      element("td"),
      ...columns.map((value) =>
        element("th", { scope: "col", textContent: across ? `${across}=${value}` : "outcome" }),
      ),
    );
    const rows = chosen.facets[down].map((value) => {
      const row = element("tr", {}, element("th", { scope: "row", textContent: `${down}=${value}` }));
      for (const column of columns) {
        const values = across ? { [down]: value, [across]: column } : { [down]: value };
        const made = cell(values);
        cells.push(made);
        row.append(element("td", {}, made));
      }
      return row;
    });
    roving(cells, columns.length);
    const table = element(
      "table",
      { className: "grid" },
      element("thead", {}, head),
      element("tbody", {}, ...rows),
    );
    drawing.replaceChildren(element("div", { className: "wide" }, table));
    press();
  }

  function cell(values) {
    const runs = report.runs.filter((run) =>
      Object.entries(values).every(([name, value]) => facet(run, name) === value),
    );
    const counts = inOrder(runs.map((run) => run.outcome)).map((word) => [
      word,
      runs.filter((run) => run.outcome === word).length,
    ]);
    const lines = counts.flatMap(([word, count]) => [outcome(word, count), element("br")]).slice(0, -1);
    const losses = runs.map((run) => run.loss).filter((loss) => loss !== null);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    const marked = runs.some((run) => run.capped) ? "*" : "";
    if (losses.length)
      lines.push(element("span", { className: "loss", textContent: `${mean.toFixed(3)}${marked} nats` }));
    const words = Object.entries(values)
      .map(([name, value]) => `${name}=${value}`)
      .join(" ");
    const said = counts.map(([word, count]) => `${count} ${word}`).join(", ") || "no run";
    const made = element(
      "button",
      {
        type: "button",
        className: "cell",
        "aria-label": `${words}: ${said}${losses.length ? `, loss ${mean.toFixed(3)}${marked}` : ""}`,
        "aria-disabled": String(!runs.length),
        onclick: () => runs.length && chosen.only(chosen.isOnly(values) ? {} : values),
      },
      ...(runs.length ? lines : ["-"]),
    );
    made.values = values;
    return made;
  }

  function press() {
    drawing
      .querySelectorAll(".cell")
      .forEach((made) => made.setAttribute("aria-pressed", String(chosen.isOnly(made.values))));
  }

  document.addEventListener("chosen", press);
  draw();
}
