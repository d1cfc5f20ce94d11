"use strict";
/* Which runs are shown: by the values of the knobs, and by outcome. */

const chosen = {
  facets: {},
  off: {},
  runs: () =>
    report.runs.filter((run) =>
      Object.keys(chosen.facets).every((name) => !chosen.off[name].has(facet(run, name))),
    ),
  /* Shows the runs with these values alone; {} shows all. */
  only(values) {
    for (const [name, known] of Object.entries(chosen.facets))
      chosen.off[name] = new Set(name in values ? known.filter((value) => value !== values[name]) : []);
    chosen.changed();
  },
  /* The values of a facet are these alone. */
  isOnly: (values) =>
    Object.entries(chosen.facets).every(([name, known]) => {
      const on = known.filter((value) => !chosen.off[name].has(value));
      return name in values ? on.length === 1 && on[0] === values[name] : on.length === known.length;
    }),
  changed() {
    document.dispatchEvent(new Event("chosen"));
  },
};

const facet = (run, name) => (name === "outcome" ? run.outcome : run.knobs[name]);

report.runs.forEach((run, number) => (run.number = number));
for (const name of [...report.knobs, "outcome"]) {
  const values = inOrder(report.runs.map((run) => facet(run, name)));
  if (values.length > 1 || name === "outcome") {
    chosen.facets[name] = values;
    chosen.off[name] = new Set();
  }
}

function startChosen() {
  const { controls } = section("chosen") ?? {};
  if (!controls) return;
  const boxes = [];
  for (const [name, values] of Object.entries(chosen.facets)) {
    if (values.length < 2) continue;
    const ticks = values.map((value) => {
      const label = tick(value, true, (on) => {
        if (on) chosen.off[name].delete(value);
        else chosen.off[name].add(value);
        chosen.changed();
      });
      boxes.push([label.firstChild, name, value]);
      return label;
    });
    controls.append(element("fieldset", {}, element("legend", { textContent: name }), ...ticks));
  }
  const count = element("span", { className: "count", role: "status" });
  const all = element("button", { type: "button", textContent: "Show all", onclick: () => chosen.only({}) });
  controls.append(count, all);
  const show = () => {
    boxes.forEach(([box, name, value]) => (box.checked = !chosen.off[name].has(value)));
    const shown = chosen.runs().length;
    count.textContent = `${shown} of ${report.runs.length} runs`;
    all.disabled = shown === report.runs.length;
    document.querySelectorAll("details.run[id]").forEach((card) => {
      card.hidden = !chosen.runs().some((run) => `run-${run.number}` === card.id);
    });
  };
  document.addEventListener("chosen", show);
  show();
}
