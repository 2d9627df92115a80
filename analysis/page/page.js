"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (rule, inside = document) => [...inside.querySelectorAll(rule)];
  const hidden = new Set();
  const plots = [];
  let tests = false;
  const narrow = matchMedia("(max-width: 40rem)");
  const coarse = matchMedia("(pointer: coarse)");
  const config = { displaylogo: false, responsive: true, displayModeBar: false, showTips: false };
  const GREY = "#8b929b";

  // ---- figures ----
  function draw(id, figure) {
    const div = document.getElementById(id);
    const layout = figure.layout;
    if (narrow.matches) layout.margin = { ...layout.margin, l: 44, r: 10 };
    if (coarse.matches) layout.dragmode = false; // a finger scrolls
    div.parentElement.setAttribute("aria-label", layout.meta.label);
    if (div.classList.contains("importance")) div.style.height = `${layout.height}px`;
    if (div.classList.contains("front") || div.classList.contains("knobs")) {
      const chosen = { x: [], y: [], hoverinfo: "skip", meta: { chosen: true }, mode: "lines+markers" };
      figure.data.push({ ...chosen, line: { width: 2, color: GREY }, marker: { size: 5, color: GREY } });
      figure.data.push({ ...chosen, mode: "markers", marker: { size: 19, color: "rgba(0,0,0,0)", line: { width: 2, color: GREY } } });
      div.dataset.clicks = "yes";
    }
    Plotly.newPlot(div, figure.data, layout, config);
    if (div.dataset.clicks) {
      div.on("plotly_click", (event) => {
        const [key, epoch] = event.points[0].customdata || [];
        if (key) choose(key, epoch);
      });
    }
    plots.push(div);
  }

  const seen = (meta) => {
    if (!meta || meta.chosen) return true;
    if (meta.test && !tests) return false;
    if (meta.series !== undefined) return !hidden.has(meta.series);
    if (meta.any) return meta.any.some((n) => !hidden.has(n));
    return !meta.all || meta.all.every((n) => !hidden.has(n));
  };

  // ---- filters ----
  function filter() {
    for (const div of plots) Plotly.restyle(div, { visible: div.data.map((trace) => seen(trace.meta)) });
    for (const block of all(".block")) {
      const own = block.dataset.any ? block.dataset.any.split(" ").map(Number) : [Number(block.dataset.series)];
      block.hidden = own.every((n) => hidden.has(n));
    }
    for (const div of all(".block:not([hidden]) .plot")) Plotly.Plots.resize(div);
    const rows = all("#trials tbody tr");
    for (const row of rows) row.hidden = hidden.has(Number(row.dataset.series));
    const shown = rows.filter((row) => !row.hidden);
    document.getElementById("count").textContent = shown.length === rows.length ? `${rows.length}` : `${shown.length} of ${rows.length}`;
    all("#trials th").forEach((head, place) => {
      const empty = shown.every((row) => row.cells[place].dataset.v === "");
      head.hidden = empty;
      for (const row of rows) row.cells[place].hidden = empty;
    });
  }
  for (const chip of all(".chip[data-series]")) {
    chip.addEventListener("click", () => {
      const number = Number(chip.dataset.series);
      if (!hidden.delete(number)) hidden.add(number);
      chip.setAttribute("aria-pressed", String(!hidden.has(number)));
      filter();
    });
  }
  document.getElementById("tests")?.addEventListener("click", (event) => {
    tests = !tests;
    event.currentTarget.setAttribute("aria-pressed", String(tests));
    filter();
  });

  // ---- one trial ----
  const put = (rule, text, inside) => { inside.querySelector(rule).textContent = text; };

  function choose(key, epoch) {
    const trial = data.trials[key];
    const panel = document.querySelector(`.panel[data-group="${trial.group}"]`);
    panel.dataset.key = key;
    put(".panel-title", trial.title, panel);
    put(".panel-about", trial.about + (epoch === null || epoch === undefined ? "" : `, epoch ${epoch} chosen`), panel);
    const list = panel.querySelector(".panel-knobs");
    list.replaceChildren(...trial.knobs.map(([name, value]) => {
      const [pair, term, told] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      told.textContent = value;
      pair.append(term, told);
      return pair;
    }));
    curves(panel.querySelector(".curves"), trial, epoch);
    for (const row of all("#trials tbody tr")) row.setAttribute("aria-selected", String(row.dataset.key === key));
    for (const div of plots) if (div.dataset.clicks) mark(div, key, trial, epoch);
  }

  function curves(div, trial, epoch) {
    const count = trial.curves.length;
    const height = 1 / count;
    div.style.height = `${70 + 115 * count}px`;
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "x unified", dragmode: false,
      margin: { l: 52, r: 8, t: 22, b: 36 }, font: { family: "system-ui, sans-serif", size: 12 },
      xaxis: { title: { text: "epoch", standoff: 6 }, anchor: `y${count > 1 ? count : ""}`, tickformat: "d", fixedrange: true }, annotations: [],
    };
    const traces = trial.curves.map((curve, place) => {
      const axis = place ? `y${place + 1}` : "y";
      const top = 1 - place * height;
      layout[`yaxis${place ? place + 1 : ""}`] = { domain: [top - height + (place < count - 1 ? 0.2 * height : 0), top - 0.03], nticks: 4, tickformat: ",.4~g", fixedrange: true, zeroline: false };
      layout.annotations.push({ text: curve.label, x: 0, xref: "paper", xanchor: "left", y: top, yref: "paper", yanchor: "bottom", yshift: -2, showarrow: false, font: { size: 12 } });
      const on = trial.epochs.map((e) => (e === epoch ? 9 : 4));
      return { x: trial.epochs, y: curve.values, yaxis: axis, mode: "lines+markers", line: { width: 2, color: trial.colour }, marker: { size: on }, hovertemplate: "%{y:,.4~g}<extra></extra>" };
    });
    Plotly.react(div, traces, layout, config);
  }

  // The trial's way through a front, or its line over the knobs.
  function mark(div, key, trial, epoch) {
    if (data.figures[div.id].layout.meta.group !== trial.group) return; // other groups keep theirs
    const own = div.data.filter((trace) => trace.meta && trace.meta.chosen);
    const at = own.map((trace) => div.data.indexOf(trace));
    let [x, y, ring] = [[], [], [[], []]];
    if (div.classList.contains("front")) {
      const cost = data.figures[div.id].layout.meta.cost;
      [x, y] = [cost, "accuracy"].map((name) => trial.curves.find((curve) => curve.name === name).values);
      const place = trial.epochs.indexOf(epoch);
      if (place >= 0) ring = [[x[place]], [y[place]]];
    } else {
      for (const trace of div.data) {
        (trace.customdata || []).forEach((custom, i) => {
          if (custom[0] === key) { x.push(trace.x[i]); y.push(trace.y[i]); }
        });
      }
    }
    Plotly.restyle(div, { x: [x, ring[0]], y: [y, ring[1]] }, at);
  }

  // ---- table ----
  const body = document.querySelector("#trials tbody");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    choose(row.dataset.key, null);
    if (event.target.closest("button")) {
      document.querySelector(`.panel[data-key="${CSS.escape(row.dataset.key)}"]`).scrollIntoView({ block: "center" });
    }
  });
  all("#trials th").forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const numeric = head.classList.contains("number");
      const value = (row) => row.cells[place].dataset.v;
      const order = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === ""); // what is absent stays below
        return (down ? -1 : 1) * (numeric ? a - b : a.localeCompare(b));
      };
      for (const other of all("#trials th")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...all("tr", body).sort((a, b) => order(value(a), value(b))));
    });
  });

  for (const [id, figure] of Object.entries(data.figures)) draw(id, figure);
  filter();
  for (const [key, epoch] of data.first) choose(key, epoch);
})();
