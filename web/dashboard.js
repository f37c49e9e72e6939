/* The dashboard: one stream of statistics in, text and charts out.
 *
 * The server keeps the record; this page asks for it once when it connects and
 * then adds the row of every event. Nothing shown is made up here: values are
 * those of /stats, and what is not measured is "n/a". */
"use strict";

const $ = (id) => document.getElementById(id);
const POINTS = 300; /* of a line; more are averaged */
const DRAW_MS = 1000;
const RETRY_MS = 1000;
const LANE_EVENTS = 6; /* a lane's load is over so many */

const columns = new Map();
let rows = [];
let stats = null;
let laneSamples = [];
let paused = false;
let drawnAt = 0;
let state = "connecting";

/* ---- Numbers -------------------------------------------------------------- */

function number(value) {
  if (value === null || value === undefined || Number.isNaN(value))
    return "n/a";
  const size = Math.abs(value);
  const digits = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString("en", {
    minimumFractionDigits: Number.isInteger(value) ? 0 : digits,
    maximumFractionDigits: digits,
  });
}

const withUnit = (value, unit) =>
  number(value) === "n/a" ? "n/a" : `${number(value)} ${unit}`;
const bytes = (value) => value / 1048576;
const percent = (part) => part === null ? null : part * 100;
const summary = (name) => stats[name].count ? stats[name] : {};
const column = (row, name) => row ? row[columns.get(name)] : null;
const last = (name) => column(rows[rows.length - 1], name);

function fill(element, value, unit) {
  const text = number(value);
  element.textContent = text;
  if (text !== "n/a" && unit) {
    const span = document.createElement("span");
    span.className = "unit";
    span.textContent = unit;
    element.append(span);
  }
}

/* A long passage does not push the others off the page. */
function textCell(text) {
  const cell = node("td", "text");
  cell.append(node("div", "clamp", text));
  cell.title = text;
  return cell;
}

function node(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/* ---- What is shown -------------------------------------------------------- */

/* id, label, unit, value, and more of [id, label, unit, value]. */
const LEAD = [
  ["pairs-now", "Throughput", "pairs/s", () => last("pairs_per_s"), [
    ["tokens-now", "", "tokens/s", () => last("tokens_per_s")],
    ["pairs", "in all", "pairs", () => stats.pairs]]],
  ["latency-now", "Latency", "ms", () => last("request_ms"), [
    ["latency-mean", "mean", "ms", () => summary("request_ms").mean],
    ["latency-p50", "p50", "ms", () => summary("request_ms").p50],
    ["latency-p95", "p95", "ms", () => summary("request_ms").p95],
    ["latency-p99", "p99", "ms", () => summary("request_ms").p99]]],
  ["queue-pairs", "Queue", "pairs waiting", () => stats.queue_pairs, [
    ["wait-p50", "wait p50", "ms", () => summary("queue_wait_ms").p50],
    ["wait-p95", "p95", "ms", () => summary("queue_wait_ms").p95],
    ["wait-p99", "p99", "ms", () => summary("queue_wait_ms").p99]]],
  ["queries", "Queries answered", "", () => stats.request_ms.count, [
    ["in-flight", "in flight", "", () => stats.requests_in_flight],
    ["overload", "refused", "", () => stats.refused_overload],
    ["errors", "5xx", "", () => stats.responses_5xx]]],
];

const padding = () => {
  const all = stats.tokens_real + stats.tokens_padded;
  return all ? percent(stats.tokens_padded / all) : null;
};

const CARDS = [
  ["tokenization", "Tokenization", "ms", () => summary("tokenization_ms").mean,
    () => `p95 ${withUnit(summary("tokenization_ms").p95, "ms")}`],
  ["inference", "Inference", "ms", () => summary("inference_ms").mean,
    () => `group p95 ${withUnit(summary("inference_ms").p95, "ms")}`],
  ["padding", "Padding waste", "%", padding, () => "of computed tokens"],
  ["batch", "Batch", "pairs", () => summary("batch_pairs").mean,
    () => stats.max_batch ? `at most ${number(stats.max_batch)}` : "no limit"],
  ["fill", "Group fill", "%",
    () => summary("group_tokens").mean === undefined ? null
      : percent(stats.group_tokens.mean / stats.group_tokens_wanted),
    () => `of ${number(stats.group_tokens_wanted)} tokens`],
  ["cpu", "CPU", "%", () => percent(last("cpu") / stats.cpus),
    () => `${number(last("cpu"))} of ${stats.cpus} cores`],
  ["memory", "Memory", "MiB", () => bytes(stats.memory_bytes),
    () => "resident"],
  ["gpu-memory", "GPU memory", "MiB",
    () => stats.gpu_memory === null ? null : bytes(stats.gpu_memory),
    () => stats.gpu_memory === null ? "none watched" : "used and cached"],
  ["gpu-use", "GPU use", "%", () => stats.gpu_utilization,
    () => stats.gpu === null ? "none watched" : `as ${stats.gpu} tells`],
];

/* title, unit, wide, lines of [name, colour, column, factor]. */
const CHARTS = [
  ["Throughput", "pairs/s", true, [["", "--work", "pairs_per_s", 1]]],
  ["Latency, mean", "ms", true, [["", "--work", "request_ms", 1]]],
  ["Queue wait, mean", "ms", false, [["", "--wait", "queue_wait_ms", 1]]],
  ["Queue depth", "pairs", false, [["", "--wait", "queue_pairs", 1]]],
  ["Tokenization, mean", "ms", false, [["", "--words", "tokenization_ms", 1]]],
  ["Inference of a group", "ms", false, [["", "--work", "inference_ms", 1]]],
  ["Tokens", "tokens/s", false, [["", "--work", "tokens_per_s", 1]]],
  ["Batch, mean", "pairs", false, [["", "--work", "batch_pairs", 1]]],
  ["Requests", "1/s", false, [["", "--work", "requests_per_s", 1]]],
  ["Refused", "1/s", false, [["", "--wait", "refused_per_s", 1]]],
  ["Padding waste", "%", false, [["", "--wait", "padding", 100]]],
  ["Lanes at work", "%", false, [["", "--work", "lanes_busy", 100]]],
  ["CPU", "cores", false, [["", "--rest", "cpu", 1]]],
  ["Memory", "MiB", false, [["", "--rest", "memory_bytes", 1 / 1048576]]],
];

function buildCards() {
  for (const [id, label, , , more] of LEAD) {
    const box = node("div");
    box.append(node("p", "label", label));
    const big = node("p", "big", "n/a");
    big.id = id;
    const line = node("p", "more");
    for (const [moreId, moreLabel] of more) {
      const span = node("span", "", moreLabel ? moreLabel + " " : "");
      const value = node("b", "", "n/a");
      value.id = moreId;
      span.append(value);
      line.append(span);
    }
    box.append(big, line);
    $("lead").append(box);
  }
  for (const [id, label] of CARDS) {
    const box = node("div");
    const value = node("dd");
    const main = node("span", "", "n/a");
    main.id = id;
    const small = node("small");
    small.id = id + "-more";
    value.append(main, small);
    box.append(node("dt", "", label), value);
    $("cards").append(box);
  }
}

function showCards() {
  for (const [id, , unit, value, more] of LEAD) {
    fill($(id), value(), unit);
    for (const [moreId, , moreUnit, moreValue] of more)
      $(moreId).textContent = number(moreValue()) +
        (moreUnit && number(moreValue()) !== "n/a" ? " " + moreUnit : "");
  }
  for (const [id, , unit, value, more] of CARDS) {
    fill($(id), value(), unit);
    $(id + "-more").textContent = more();
  }
}

function showFacts() {
  document.title = `${stats.model} · crossrank`;
  $("model").textContent = stats.model;
  $("facts").textContent = [
    `backend ${stats.backend}`, `device ${stats.device}`,
    stats.isa, stats.dtype, `${stats.lanes} lanes`,
    `${stats.max_length} tokens a pair`, `up ${duration(stats.uptime_s)}`,
  ].filter(Boolean).join(" · ");
  $("version").textContent = `crossrank ${stats.version}`;
}

function duration(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

const STAGES = [["words", "Tokenization"], ["wait", "Queue wait"],
  ["work", "Scoring"], ["rest", "Answer"]];

function showStages() {
  const whole = summary("request_ms").mean;
  const measured = ["tokenization_ms", "queue_wait_ms", "compute_ms"];
  const parts = measured.map((name) => summary(name).mean);
  parts.push(whole === undefined ? undefined
    : Math.max(0, parts.reduce((left, part) => left - part, whole)));
  const p95s = [...measured.map((name) => summary(name).p95), null];
  $("stages").replaceChildren();
  $("legend").replaceChildren();
  STAGES.forEach(([name, label], i) => {
    const bar = node("i", name);
    const share = whole ? parts[i] / whole * 100 : 0;
    bar.style.width = share + "%";
    $("stages").append(bar);
    const item = node("li");
    item.append(node("i", name), node("span", "", whole === undefined
      ? `${label}: n/a` : `${label}: ${number(share)} %`));
    if (whole !== undefined)
      item.append(node("small", "", `mean ${number(parts[i])} ms` +
        (p95s[i] === null ? "" : `, p95 ${number(p95s[i])} ms`)));
    $("legend").append(item);
  });
  $("stages").setAttribute("aria-label", [...$("legend").children]
    .map((item) => item.children[1].textContent).join(", "));
}

function showLanes() {
  const then = laneSamples[0];
  const now = laneSamples[laneSamples.length - 1];
  const seconds = now.at - then.at;
  const list = $("lanes");
  while (list.children.length < now.busy.length) {
    const item = node("li");
    const track = node("span", "track");
    track.append(node("i"));
    item.append(node("span", "", String(list.children.length)), track,
      node("span", "share", "n/a"));
    list.append(item);
  }
  now.busy.forEach((busy, i) => {
    const share = seconds > 0
      ? Math.min(1, (busy - then.busy[i]) / seconds) : null;
    const item = list.children[i];
    item.children[1].firstChild.style.width = (share || 0) * 100 + "%";
    item.children[2].textContent = share === null ? "n/a"
      : `${Math.round(share * 100)} %`;
  });
}

const STATES = { connecting: "Connecting", running: "Running", idle: "Idle",
  stopping: "Stopping", disconnected: "Disconnected", locked: "Key needed" };

function showState(next) {
  if (next !== state) {
    state = next;
    $("state").textContent = STATES[next];
    $("state").dataset.state = next;
  }
}

/* ---- Charts --------------------------------------------------------------- */

const charts = [];
const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function buildChart([title, unit, wide, lines]) {
  const box = node("div", wide ? "chart wide" : "chart");
  const head = node("header");
  const value = node("output", "", "n/a");
  head.append(node("h3", "", title), value);
  const plot = node("div", "plot");
  const canvas = node("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title} in ${unit} over time`);
  plot.append(canvas);
  box.append(head, plot);
  $("charts").append(box);
  const chart = new Chart(canvas, {
    type: "line",
    data: { datasets: lines.map(() => ({ data: [], borderWidth: 1.5,
      pointRadius: 0, fill: true, spanGaps: 2 })) },
    options: {
      animation: false, parsing: false, normalized: true,
      responsive: true, maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      plugins: { legend: { display: false }, tooltip: { callbacks: {
        title: (items) => clock(items[0].parsed.x),
        label: (item) => `${number(item.parsed.y)} ${unit}` } } },
      scales: {
        x: { type: "linear", grid: { display: false }, ticks: {
          maxTicksLimit: wide ? 6 : 4, maxRotation: 0, callback: clock } },
        y: { beginAtZero: true, suggestedMax: unit === "%" ? 100 : 1, border: { display: false },
          ticks: { maxTicksLimit: 5, callback: (v) => number(v) } },
      },
    },
  });
  charts.push({ chart, value, unit, lines });
}

/* Seconds since the server began as minutes and seconds. */
function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

function paintCharts() {
  for (const { chart, lines } of charts) {
    lines.forEach(([, name], i) => {
      chart.data.datasets[i].borderColor = colour(name);
      chart.data.datasets[i].backgroundColor = colour(name) + "22";
    });
    for (const axis of Object.values(chart.options.scales))
      axis.ticks.color = colour("--dim");
    chart.options.scales.y.grid = { color: colour("--line") };
  }
}

/* Rows of the range; where they are many, each point is the mean of several. */
function points(shown, name, factor, most) {
  const step = Math.ceil(shown.length / POINTS);
  const list = [];
  for (let i = 0; i < shown.length; i += step) {
    let sum = 0;
    let n = 0;
    for (const row of shown.slice(i, i + step)) {
      const value = column(row, name);
      if (value !== null) {
        sum += value;
        n++;
      }
    }
    list.push({ x: column(shown[i], "at_s"),
      y: n ? Math.min(sum * factor / n, most) : null });
  }
  return list;
}

function inRange() {
  const first = last("at_s") - Number($("range").value);
  return rows.filter((row) => column(row, "at_s") >= first);
}

function drawCharts() {
  if (!rows.length) return;
  const shown = inRange();
  const end = last("at_s");
  for (const { chart, value, unit, lines } of charts) {
    lines.forEach(([, , name, factor], i) => {
      /* A group counts when it ends, so that half a second may have more than
       * all of its time in it. */
      chart.data.datasets[i].data =
        points(shown, name, factor, unit === "%" ? 100 : Infinity);
    });
    chart.options.scales.x.min = column(shown[0], "at_s");
    chart.options.scales.x.max = Math.max(end, column(shown[0], "at_s") + 5);
    chart.update("none");
    const now = last(lines[0][2]);
    fill(value, now === null ? null
      : Math.min(now * lines[0][3], unit === "%" ? 100 : Infinity), unit);
  }
}

/* ---- The stream ----------------------------------------------------------- */

const headers = () => {
  const key = sessionStorage.getItem("crossrank-key");
  return key ? { Authorization: `Bearer ${key}` } : {};
};

class Locked extends Error {}

async function get(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options,
    headers: { ...headers(), ...(options && options.headers) } });
  if (answer.status === 401) throw new Locked();
  return answer;
}

function take(message) {
  stats = message;
  message.history.columns.forEach((name, i) => columns.set(name, i));
  laneSamples.push({ at: message.uptime_s, busy: message.busy_s_by_lane });
  laneSamples = laneSamples.slice(-LANE_EVENTS);
}

function show(force) {
  showState(!stats.ready ? "stopping"
    : stats.requests_in_flight || last("pairs_per_s") > 0 ? "running"
      : "idle");
  if (paused && !force) return;
  showFacts();
  showCards();
  showStages();
  showLanes();
  const now = performance.now();
  if (force || (now - drawnAt >= DRAW_MS - 50 && !document.hidden)) {
    drawnAt = now;
    drawCharts();
  }
}

function takeEvent(text) {
  const message = JSON.parse(text.replace(/^data: /, ""));
  const row = message.history.rows[0];
  take(message);
  if (row && (!rows.length || column(row, "at_s") > last("at_s")))
    rows.push(row);
  if (rows.length > 7200) rows.shift();
  show(false);
}

async function follow() {
  const answer = await get("stats?rows=7200");
  if (!answer.ok) throw new Error(`/stats: ${answer.status}`);
  const message = await answer.json();
  laneSamples = [];
  take(message);
  rows = message.history.rows;
  show(true);
  const stream = await get("stats/stream");
  if (!stream.ok) throw new Error(`/stats/stream: ${stream.status}`);
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    events.forEach(takeEvent);
  }
}

async function run() {
  for (;;) {
    try {
      await follow();
    } catch (error) {
      if (error instanceof Locked) {
        showState("locked");
        await askKey();
        continue;
      }
    }
    showState("disconnected");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function askKey() {
  const form = $("key-form");
  $("key-error").textContent = sessionStorage.getItem("crossrank-key")
    ? "The server does not know this key." : "";
  form.hidden = false;
  $("key").focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("crossrank-key", $("key").value);
      $("key").value = "";
      form.hidden = true;
      resolve();
    };
  });
}

/* ---- Try it --------------------------------------------------------------- */

function request() {
  return { query: $("query").value, documents: $("passages").value.split("\n")
    .filter((line) => line.trim()), return_details: true };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(body) {
  const key = sessionStorage.getItem("crossrank-key")
    ? " \\\n  -H \"Authorization: Bearer $CROSSRANK_KEY\"" : "";
  return `curl ${quoted(new URL("v1/rerank", location).href)} \\\n` +
    `  -H 'Content-Type: application/json'${key} \\\n` +
    `  -d ${quoted(JSON.stringify(body))}`;
}

function showResults(body, answer) {
  $("rows").replaceChildren(...answer.results.map((result, i) => {
    const row = node("tr");
    row.append(node("td", "", String(i + 1)),
      node("td", "", result.relevance_score.toPrecision(4)),
      node("td", "", number(result.tokens)),
      node("td", "", result.truncated ? "yes" : "no"),
      textCell(body.documents[result.index]));
    return row;
  }));
  $("curl").textContent = curl(body);
  $("results").hidden = false;
}

async function tryIt(event) {
  event.preventDefault();
  const body = request();
  const start = performance.now();
  delete $("try-status").dataset.bad;
  try {
    const answer = await get("v1/rerank", { method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body) });
    const got = await answer.json();
    if (!answer.ok) throw new Error(got.error.message);
    showResults(body, got);
    $("try-status").textContent = `${body.documents.length} passages in ` +
      `${number(performance.now() - start)} ms, seen from here`;
  } catch (error) {
    $("try-status").dataset.bad = "";
    $("try-status").textContent = error instanceof Locked
      ? "The server asks for a key." : String(error.message);
  }
}

/* ---- Controls ------------------------------------------------------------- */

function applyTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-label",
    `Switch to ${name === "dark" ? "light" : "dark"} colours`);
  paintCharts();
  drawCharts();
}

function watchTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const wanted = () => localStorage.getItem("crossrank-theme") ||
    (system.matches ? "dark" : "light");
  system.addEventListener("change", () => applyTheme(wanted()));
  $("theme").addEventListener("click", () => {
    const next = wanted() === "dark" ? "light" : "dark";
    localStorage.setItem("crossrank-theme", next);
    applyTheme(next);
  });
  applyTheme(wanted());
}

function exportCsv() {
  const lines = [[...columns.keys()].join(",")];
  for (const row of inRange())
    lines.push(row.map((v) => v === null ? "" : v).join(","));
  const link = node("a");
  link.href = URL.createObjectURL(
    new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "crossrank-stats.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function start() {
  buildCards();
  if (window.Chart) CHARTS.forEach(buildChart);
  else $("no-charts").hidden = false;
  watchTheme();
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    $("pause").textContent = paused ? "Resume" : "Pause";
    if (!paused && stats) show(true);
  });
  $("range").addEventListener("change", drawCharts);
  $("csv").addEventListener("click", exportCsv);
  $("try").addEventListener("submit", tryIt);
  $("copy").addEventListener("click", () =>
    navigator.clipboard.writeText($("curl").textContent));
  run();
}

start();
