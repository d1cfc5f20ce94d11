"use strict";
/* The profile over depth at one step: a line for each map, its axis fixed so that steps can be compared. */

const PROFILE_HEIGHT = 300;
/* The look of the k-th map's line. */
const profileLook = (k) => ({ ...look(k), dash: k ? [6, 3] : [] });

function profileOn(frame) {
  const tip = tooltip(frame);
  let [plot, drawn, maps, places] = [null, "", [], []];

  /* Draws the maps' columns at a step; returns the ends of each line in words. */
  function show(shown, range, step, { name, unit }) {
    maps = shown;
    places = maps.reduce((a, b) => (b.places.length > a.places.length ? b : a)).places;
    const values = maps.map((map) => places.map((place) => valueAt(map, place, step, range)));
    const data = [places.map((_, line) => line), ...values];
    // The plot stays as long as only the step is another.
    const wanted = JSON.stringify([name, places, range, maps.map((map) => map.run.number), css("--ink")]);
    if (plot && drawn === wanted) plot.setData(data);
    else {
      plot?.destroy();
      plot = new uPlot(options(unit, range), data, frame);
      drawn = wanted;
    }
    return values.map((each, k) => `${whose(k)}${ends(each)}`).join("; ");
  }

  function valueAt(map, place, step, { log }) {
    const line = map.places.indexOf(place);
    const value = line < 0 ? null : map.values[line * (map.edges.length - 1) + columnAt(map, step)];
    return Number.isFinite(value) && (!log || value > 0) ? value : null;
  }

  const whose = (k) => (maps.length > 1 ? `${maps[k].run.label}: ` : "");
  const ends = (values) =>
    [0, places.length - 1].map((line) => `${places[line]} ${digits(values[line])}`).join(", ");

  function options(unit, { low, high, log }) {
    const room = log
      ? [rounded(low / 1.2, Math.floor), rounded(high * 1.2, Math.ceil)]
      : [low - 0.05 * (high - low), high + 0.05 * (high - low)];
    const names = (_, splits) => splits.map((line) => shortPlace(places[line] ?? ""));
    return {
      width: frame.clientWidth,
      height: PROFILE_HEIGHT,
      legend: { show: false },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: room } },
      axes: [
        { ...AXIS, label: "layer", splits: lines, values: names },
        { ...AXIS, ...VALUES, label: unit },
      ],
      series: [{}, ...maps.map(line)],
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 9 } },
      hooks: { setCursor: [say] },
    };
  }

  function line(map, k) {
    const { colour, dash } = profileLook(k);
    return {
      label: map.run.label,
      stroke: colour,
      width: 2,
      dash,
      points: { show: true, size: 6, fill: colour },
    };
  }

  /* To one digit, so that the ends of the axis can be read. */
  function rounded(value, way) {
    const power = 10 ** Math.floor(Math.log10(value));
    return way(value / power) * power;
  }

  /* As many places as there is room to name. */
  function lines({ width }) {
    const every = Math.ceil(places.length / (width / 34));
    return places.flatMap((_, place) => (place % every === 0 ? [place] : []));
  }

  function say({ cursor, data, over, valToPos }) {
    if (cursor.left < 0 || cursor.idx == null) return tip.hide();
    const values = maps.map((_, k) => `${whose(k)}${digits(data[k + 1][cursor.idx])}`);
    const left = valToPos(cursor.idx, "x") + over.offsetLeft;
    return tip.show([places[cursor.idx], ...values].join("\n"), left, cursor.top + over.offsetTop);
  }

  /* Fits the plot to its frame; whether that has changed. */
  function fit() {
    if (!plot || plot.width === frame.clientWidth) return false;
    plot.setSize({ width: frame.clientWidth, height: PROFILE_HEIGHT });
    return true;
  }

  return { show, fit };
}
