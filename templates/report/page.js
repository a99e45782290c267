"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const one = (selector, from = document) => from.querySelector(selector);

  // Data inside the page: gzip in base64.
  const unpacked = {};
  const unpack = (id) => unpacked[id] ??= (async () => {
    const text = atob(document.getElementById(id).textContent.trim());
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  })();

  const said = document.getElementById("said");
  let saying;
  const say = (text) => {
    said.textContent = text;
    said.classList.add("on");
    clearTimeout(saying);
    saying = setTimeout(() => said.classList.remove("on"), 2500);
  };

  const download = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`${name} was saved`);
  };

  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say(`${what} was copied`);
  };

  // Tables: sorting.
  const key = (cell) => {
    const text = cell?.dataset.v ?? cell?.textContent.trim() ?? "";
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  const before = (a, b) => {
    // What there is not comes last, whichever way.
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const sortBy = (table, column, ascending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const empty = (row) => key(row.cells[column]) === "";
    rows.sort((a, b) => {
      if (empty(a) !== empty(b)) return empty(a) ? 1 : -1;
      const order = before(key(a.cells[column]), key(b.cells[column]));
      return ascending ? order : -order;
    });
    body.append(...rows);
  };
  for (const button of all("button.sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const descending = head.getAttribute("aria-sort") === "ascending" || (!head.hasAttribute("aria-sort") && head.classList.contains("n"));
      for (const other of all("th[aria-sort]", head.closest("thead"))) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(head.closest("table"), head.cellIndex, !descending);
    });
  }

  // The table of runs: filters, columns, copies.
  const runs = document.getElementById("runs-table");
  if (runs) {
    const filters = all("tr.filter input", runs);
    const count = document.getElementById("runs-count");
    // "0.2..0.9", ">80", "<=3", "=5"; else a part of the text.
    const test = (text) => {
      const range = /^\s*(-?[\d.e+-]*)\s*\.\.\s*(-?[\d.e+-]*)\s*$/i.exec(text);
      if (range) {
        const low = range[1] === "" ? -Infinity : Number(range[1]);
        const high = range[2] === "" ? Infinity : Number(range[2]);
        return (value) => typeof value === "number" && value >= low && value <= high;
      }
      const compared = /^\s*(<=|>=|<|>|=)\s*(-?[\d.e+-]+)\s*$/i.exec(text);
      if (compared) {
        const limit = Number(compared[2]);
        const holds = { "<": (v) => v < limit, "<=": (v) => v <= limit, ">": (v) => v > limit, ">=": (v) => v >= limit, "=": (v) => v === limit };
        return (value) => typeof value === "number" && holds[compared[1]](value);
      }
      const part = text.trim().toLowerCase();
      return (value) => String(value).toLowerCase().includes(part);
    };
    const apply = () => {
      const tests = filters.map((input) => (input.value.trim() === "" ? null : test(input.value)));
      let shown = 0;
      for (const row of runs.tBodies[0].rows) {
        const fits = tests.every((holds, i) => !holds || holds(key(row.cells[i])));
        row.hidden = !fits;
        if (fits && !row.classList.contains("off")) shown += 1;
      }
      count.textContent = `${shown} of ${runs.tBodies[0].rows.length} runs`;
    };
    for (const input of filters) input.addEventListener("input", apply);
    document.addEventListener("models", apply);
    const show = (column, shown) => {
      for (const row of runs.rows) row.cells[column].hidden = !shown;
    };
    for (const box of all("details.columns input")) {
      const column = Number(box.value);
      box.addEventListener("change", () => show(column, box.checked));
      if (!box.checked) show(column, false);
    }
    const visible = () => {
      const heads = [...runs.tHead.rows[0].cells];
      const columns = heads.map((_, i) => i).filter((i) => !heads[i].hidden);
      const body = [...runs.tBodies[0].rows].filter((row) => !row.hidden && !row.classList.contains("off"));
      return {
        names: columns.map((i) => heads[i].dataset.key + (heads[i].dataset.unit ? ` [${heads[i].dataset.unit}]` : "")),
        numeric: columns.map((i) => heads[i].classList.contains("n")),
        rows: body.map((row) => columns.map((i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim())),
      };
    };
    const csv = ({ names, rows }) => {
      const field = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      return [names, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n";
    };
    const markdown = ({ names, numeric, rows }) => {
      const line = (row) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
      return [line(names), line(numeric.map((n) => (n ? "---:" : "---"))), ...rows.map(line)].join("\n") + "\n";
    };
    const latex = ({ names, numeric, rows }) => {
      const plain = (text) => text.replace(/\\/g, "\\textbackslash ").replace(/[&%$#_{}]/g, "\\$&").replace(/~/g, "\\textasciitilde ").replace(/\^/g, "\\textasciicircum ");
      const line = (row) => `${row.map(plain).join(" & ")} \\\\`;
      return [`\\begin{tabular}{${numeric.map((n) => (n ? "r" : "l")).join("")}}`, "\\hline", line(names), "\\hline", ...rows.map(line), "\\hline", "\\end{tabular}", ""].join("\n");
    };
    const forms = { csv, markdown, latex };
    for (const button of all("[data-copy]")) {
      button.addEventListener("click", () => copy(forms[button.dataset.copy](visible()), button.dataset.name));
    }
    document.getElementById("save-csv").addEventListener("click", () => download("runs.csv", "text/csv", csv(visible())));
    apply();
  }
  document.getElementById("save-json")?.addEventListener("click", async () => download("report.json", "application/json", await unpack("data-all")));
  document.getElementById("save-metrics")?.addEventListener("click", async () => download("metrics.csv", "text/csv", await unpack("data-metrics")));

  // Models: one legend for all figures and tables.
  const hidden = new Set();
  const live = new Map();
  const visibility = (plot) => {
    const shown = plot.data.map((trace) => (hidden.has(trace.legendgroup) ? false : true));
    return Plotly.restyle(plot, { visible: shown });
  };
  const toggle = (model) => {
    if (!hidden.delete(model)) hidden.add(model);
    for (const button of all(".legend button[data-for]")) button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.for)));
    for (const element of all("[data-model]")) element.classList.toggle("off", hidden.has(element.dataset.model));
    for (const { plot } of live.values()) visibility(plot);
    document.dispatchEvent(new Event("models"));
  };
  for (const button of all(".legend button[data-for]")) button.addEventListener("click", () => toggle(button.dataset.for));

  // Interactive charts, drawn when they come into sight.
  const settings = { x: "", smooth: 0, log: false };
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const faint = (hex, alpha) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${alpha})`;
  const smoothed = (values, share) => {
    // An exponential mean without a bias towards the first value.
    let sum = 0, weight = 0;
    return values.map((value) => {
      sum = share * sum + (1 - share) * value;
      weight = share * weight + (1 - share);
      return sum / weight;
    });
  };
  // With a finger the page is scrolled, not a chart zoomed.
  const touched = matchMedia("(hover: none)").matches;
  const dressed = (spec, learning) => {
    const levels = spec.data.filter((trace) => trace.meta === "level" && trace.name).map((trace) => trace.y.at(-1));
    const reach = Math.abs((spec.layout.yaxis.range?.[1] ?? 100) - (spec.layout.yaxis.range?.[0] ?? 0));
    // Names of levels that are close stand on different sides of their lines.
    const side = (y) => (levels.some((other) => other > y && other - y < 0.07 * reach) ? "bottom left" : "top left");
    const data = spec.data.map((trace, i) => {
      const own = { ...trace, line: { ...trace.line }, visible: !hidden.has(trace.legendgroup) };
      const shade = trace.meta === "level" ? color("--soft") : color(`--${trace.meta}`);
      own.line.color = shade;
      if (trace.marker) own.marker = { ...trace.marker, color: shade };
      if (trace.fillcolor) own.fillcolor = faint(shade, 0.18);
      if (trace.error_y) own.error_y = { ...trace.error_y, color: shade };
      if (learning) {
        const other = spec.other_x[i]?.[settings.x];
        if (other) own.x = other;
        if (settings.smooth > 0 && trace.meta !== "level") own.y = smoothed(trace.y, settings.smooth);
        if (trace.meta === "level" && settings.x) {
          const ends = spec.other_x.flatMap((o) => o[settings.x] ?? []);
          own.x = [0, ends.reduce((a, b) => Math.max(a, b), 0)];
        }
      }
      if (trace.meta === "level" && trace.name) {
        Object.assign(own, { mode: "lines+text", text: own.x.map((_, i) => (i === own.x.length - 1 ? trace.name : "")), textposition: side(trace.y.at(-1)), textfont: { color: shade, size: 11 }, cliponaxis: false });
      }
      return own;
    });
    // Whole numbers at a logarithmic axis too, whatever is zoomed to: 20, 500, 2k.
    const scale = (type, range) => (type === "log" ? { type, nticks: 3, tickformat: range?.[0] >= 0 ? "~s" : "~g" } : {});
    const axis = (given) => ({ ...given, ...scale(given.type, given.range), gridcolor: color("--grid"), linecolor: color("--soft"), zeroline: false, automargin: true, title: { ...given.title, standoff: 8 } });
    const layout = {
      ...spec.layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: 340, dragmode: touched ? false : "zoom",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("--fg") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--line"), activecolor: color("--accent") },
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--fg") } },
      xaxis: axis(spec.layout.xaxis), yaxis: axis(spec.layout.yaxis),
    };
    if (learning) {
      if (settings.x) {
        layout.xaxis.title = { ...layout.xaxis.title, text: settings.x === "seconds" ? "training time [s]" : "time steps" };
        delete layout.xaxis.range;
      }
      if (settings.log) {
        Object.assign(layout.xaxis, scale("log"));
        delete layout.xaxis.range;
      }
    }
    return [data, layout];
  };
  const options = { displaylogo: false, displayModeBar: touched ? false : "hover", responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg" } };
  const draw = (entry) => Plotly.react(entry.plot, ...dressed(entry.spec, entry.learning), options);
  let ready;
  const plotly = () => ready ??= (async () => {
    const script = document.createElement("script");
    script.textContent = await unpack("plotly");
    document.head.append(script);
    return JSON.parse(await unpack("data-charts"));
  })();
  const bring = async (place) => {
    const specs = await plotly();
    const id = place.dataset.chart;
    if (live.has(id) || !specs[id]) return;
    const plot = document.createElement("div");
    plot.className = "live";
    place.append(plot);
    const entry = { plot, spec: specs[id], learning: Boolean(place.closest("#learning")) };
    live.set(id, entry);
    one(".still", place).style.display = "none";
    await draw(entry);
    place.dataset.live = "yes";
  };
  if (typeof DecompressionStream === "function" && "IntersectionObserver" in window) {
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        observer.unobserve(entry.target);
        bring(entry.target);
      }
    }, { rootMargin: "300px" });
    for (const place of all(".plot[data-chart]")) observer.observe(place);
  }
  const redraw = (learning) => {
    for (const entry of live.values()) if (!learning || entry.learning) draw(entry);
  };
  document.getElementById("x-axis")?.addEventListener("change", (event) => { settings.x = event.target.value; redraw(true); });
  document.getElementById("smooth")?.addEventListener("input", (event) => { settings.smooth = Number(event.target.value); redraw(true); });
  document.getElementById("log-x")?.addEventListener("change", (event) => { settings.log = event.target.checked; redraw(true); });

  // Light, dark, or as the system has it.
  const theme = document.getElementById("theme");
  const kept = { get: () => { try { return localStorage.getItem("selectiv-theme") ?? ""; } catch { return ""; } }, set: (value) => { try { localStorage.setItem("selectiv-theme", value); } catch { /* it holds for this page alone */ } } };
  const wear = (name) => {
    if (name) root.dataset.theme = name; else delete root.dataset.theme;
    redraw(false);
  };
  theme.value = kept.get();
  wear(theme.value);
  theme.addEventListener("change", () => { kept.set(theme.value); wear(theme.value); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(false));

  // A link to a run shows it, whatever the filters say.
  const seek = () => {
    const row = location.hash.startsWith("#r") && document.getElementById(location.hash.slice(1));
    if (!row) return;
    row.hidden = false;
    row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", seek);
  seek();
})();
