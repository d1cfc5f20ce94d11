"use strict";
/* The events of the chosen runs on a line each; one that is chosen opens what is said of its run. */

const SIGNS = {
  nonfinite: "\u2715",
  spike: "\u25B2",
  explosion: "\u25C6",
  slow_divergence: "\u25C7",
  plateau: "\u25A0",
  vanishing: "\u25BC",
  frozen: "\u2744\uFE0E",
  entropy_collapse: "\u25CB",
  logit_growth: "\u25B3",
  massive_activation: "\u25A1",
};
const SPEAKS = {
  nonfinite: "nonfinite",
  spike: "spiked",
  explosion: "exploded",
  slow_divergence: "exploded",
  plateau: "stuck",
};
const SIGN = "\u25CF";

function startEvents() {
  const { drawing } = section("events");
  const told = element("output", { "aria-live": "polite" });
  const lanes = element("div", { className: "lanes" });
  const legend = element("ul", { className: "legend" });
  const quiet = element("p", { className: "caption" });
  drawing.append(lanes, legend, told, quiet);

  function draw() {
    const runs = chosen.runs();
    const troubled = runs.filter((run) => run.events.length);
    const last = Math.max(1, ...troubled.map((run) => run.steps));
    lanes.replaceChildren(
      ...troubled.flatMap((run) => lane(run, last)),
      ...(troubled.length ? [element("span"), scale(last)] : []),
    );
    roving([...lanes.querySelectorAll(".mark")], 1);
    const kinds = inOrder(troubled.flatMap((run) => run.events.map((event) => event.kind)));
    legend.replaceChildren(...kinds.map((kind) => element("li", {}, sign(kind), ` ${kind}`)));
    const rest = runs.length - troubled.length;
    quiet.textContent = !rest
      ? ""
      : troubled.length
        ? `${rest} of ${runs.length} runs without an event.`
        : "No detector saw anything.";
    told.textContent = "";
  }

  function sign(kind) {
    const made = element("span", { textContent: SIGNS[kind] ?? SIGN });
    made.style.color = kind in SPEAKS ? `var(--${SPEAKS[kind]})` : "var(--other)";
    return made;
  }

  function lane(run, last) {
    const line = element("div", { className: "lane" });
    const there = {};
    for (const event of run.events) {
      const layer = event.layers.length ? ` in ${event.layers[0]}` : "";
      const words = `step ${event.step}: ${event.kind}${layer}. ${event.message}`;
      const mark = element(
        "button",
        {
          type: "button",
          className: "mark",
          "aria-label": `${run.label}, ${words}`,
          title: words,
          onclick: () => openRun(run.number),
        },
        sign(event.kind),
      );
      // Events of one step stand side by side.
      const before = (there[event.step] = (there[event.step] ?? -1) + 1);
      mark.style.left = `calc(${(100 * event.step) / last}% + ${before}rem)`;
      mark.onfocus = mark.onpointerenter = () => (told.textContent = `${run.label}: ${words}`);
      line.append(mark);
    }
    const link = element("a", {
      href: `#run-${run.number}`,
      textContent: run.label,
      tabIndex: -1,
      onclick: (pressed) => {
        pressed.preventDefault();
        openRun(run.number);
      },
    });
    const why = run.why ? [element("p", { className: "why caption", textContent: run.why })] : [];
    return [element("div", { className: "name" }, link), line, ...why];
  }

  function scale(last) {
    const line = element("div", { className: "scale", "aria-hidden": "true" });
    const step = stepFor(last / 6);
    for (let at = 0; at <= last; at += step) {
      const label = element("span", { textContent: at });
      label.style.left = `${(100 * at) / last}%`;
      line.append(label);
    }
    return line;
  }

  document.addEventListener("chosen", draw);
  draw();
}
