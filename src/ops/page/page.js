"use strict";
// The live page: one snapshot a second over server-sent events, drawn as the last five minutes.
// All text of others goes in as text, never as HTML.

const KEPT = 300; // seconds on the charts
const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- numbers for people

const counted = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (n) => (n == null ? "–" : n >= 1e6 ? short.format(n) : counted.format(n));
const rate = (n) => (n == null ? "–" : n > 0 && n < 10 ? n.toFixed(1) : count(n));
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${n >= 100 || at === 0 ? n.toFixed(0) : n.toFixed(1)} ${units[at]}`;
}
function span(seconds) {
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : seconds.toFixed(0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}
const age = (seconds) => (seconds < 1 ? "under 1 s" : span(seconds));
const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

// ---- what a snapshot says

const series = (snapshot, name) => snapshot.metrics["risksignal_" + name] || [];
const value = (snapshot, name) => (series(snapshot, name)[0] || { value: 0 }).value;
const sum = (snapshot, name) => series(snapshot, name).reduce((all, one) => all + one.value, 0);
const histogram = (snapshot, name) => series(snapshot, name)[0];

// The quantile of what came between two histograms, within its bucket in proportion.
function quantile(before, after, q) {
  const total = after.count - before.count;
  if (total <= 0) return null;
  const wanted = q * total;
  let below = 0, lower = 0;
  for (let i = 0; i < after.buckets.length; i += 1) {
    const upper = after.buckets[i][0];
    const upTo = after.buckets[i][1] - before.buckets[i][1];
    if (upTo >= wanted) return lower + ((upper - lower) * (wanted - below)) / Math.max(upTo - below, 1e-9);
    below = upTo;
    if (upper != null && isFinite(upper)) lower = upper;
  }
  return lower;
}
function mean(before, after) {
  const total = after.count - before.count;
  return total > 0 ? (after.sum - before.sum) / total : null;
}

// ---- charts

const charts = [
  { id: "rate", lines: [["signals", "--one"]], fill: true },
  { id: "latency", lines: [["p50", "--one"], ["p99", "--two"]] },
  { id: "lag", lines: [["pending", "--one"], ["unacked", "--two"]] },
  { id: "rows", lines: [["rows", "--one"]], fill: true },
  { id: "insert", lines: [["p50", "--one"], ["p99", "--two"]] },
  { id: "dead", lines: [["letters", "--two"]], fill: true },
];

function draw(chart) {
  const place = byId("chart-" + chart.id);
  if (chart.plot) chart.plot.destroy();
  const quiet = colour("--quiet"), line = colour("--line");
  const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  chart.plot = new uPlot({
    width: place.clientWidth, height: place.clientHeight,
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
    axes: [
      { ...axis, space: 70, size: 26, values: (_, at) => at.map((t) => clock(t * 1000)) },
      { ...axis, size: 46, values: (_, at) => at.map((n) => (n < 10 && n % 1 ? n.toFixed(1) : short.format(n))) },
    ],
    series: [{}, ...chart.lines.map(([label, name]) => ({
      label, stroke: colour(name), width: 1.75, spanGaps: false,
      fill: chart.fill ? colour(name) + "26" : undefined,
      points: { show: false },
    }))],
  }, chart.data, place);
}

function set(chart, at, values) {
  chart.data[0].push(at);
  values.forEach((v, i) => chart.data[i + 1].push(v));
  if (chart.data[0].length > KEPT) chart.data.forEach((column) => column.shift());
  const place = byId("chart-" + chart.id);
  place.classList.toggle("empty", !chart.data.slice(1).some((column) => column.some((v) => v != null)));
  // For programs that look: how often it was drawn, and the newest point.
  place.dataset.points = chart.data[0].length;
  place.dataset.last = values.map((v) => (v == null ? "" : v)).join(",");
  chart.plot.setData(chart.data);
}

function legends() {
  for (const chart of charts) {
    chart.data = [[], ...chart.lines.map(() => [])];
    if (chart.lines.length > 1) {
      const legend = document.createElement("span");
      legend.className = "legend quiet";
      chart.lines.forEach(([label, name]) => {
        const key = document.createElement("span");
        key.textContent = label;
        if (name === "--two") key.className = "two";
        legend.append(key);
      });
      byId("chart-" + chart.id).parentElement.querySelector("figcaption").append(legend);
    }
    byId("chart-" + chart.id).classList.add("empty");
    draw(chart);
  }
}

// ---- tables

function table(id, heads, rows, none) {
  const place = byId(id);
  const cell = (tag, content, kind) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.textContent = content;
    return made;
  };
  const head = document.createElement("tr");
  heads.forEach(([name, kind]) => head.append(cell("th", name, kind)));
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    row.forEach((content, i) => {
      const heat = typeof content === "object" && content !== null;
      const made = cell("td", heat ? content.text : content, heat ? content.kind : heads[i][1]);
      if (heat && content.share != null) made.style.backgroundColor = `rgba(${colour("--heat")}, ${content.share})`;
      line.append(made);
    });
    return line;
  });
  if (!lines.length) {
    const line = document.createElement("tr");
    const made = cell("td", none, "none");
    made.colSpan = heads.length;
    line.append(made);
    lines.push(line);
  }
  place.replaceChildren(head, ...lines);
}

function kinds(snapshot) {
  const all = series(snapshot, "signals_valid_total");
  const severities = [...new Set(all.map((one) => one.labels.severity))].sort();
  const types = new Map();
  for (const one of all) {
    const row = types.get(one.labels.event_type) || { total: 0, by: {} };
    row.total += one.value;
    row.by[one.labels.severity] = one.value;
    types.set(one.labels.event_type, row);
  }
  const most = Math.max(1, ...all.map((one) => one.value));
  const rows = [...types].sort((a, b) => b[1].total - a[1].total).map(([name, row]) => [
    name,
    ...severities.map((severity) => {
      const n = row.by[severity];
      return n ? { text: count(n), kind: "heat", share: (0.06 + 0.34 * (n / most)).toFixed(3) } : { text: "·", kind: "heat zero" };
    }),
    count(row.total),
  ]);
  const heads = [["type", ""], ...severities.map((severity) => [severity, "number"]), ["all", "number"]];
  table("kinds", heads, rows, "No signal yet since the start.");
}

// ---- the whole

const NAMES = { pipeline: "Pipeline", nats: "NATS", jetstream: "JetStream", clickhouse: "ClickHouse", schema: "Schema" };
const WORDS = { up: "up", down: "down", waiting: "waiting" };

function health(snapshot) {
  const { ready, reason, dependencies } = snapshot.health;
  const verdict = byId("verdict");
  verdict.textContent = ready ? "ingesting" : "not ingesting";
  verdict.className = "badge " + (ready ? "up" : "down");
  byId("reason").hidden = ready;
  byId("reason").textContent = reason || "";
  const warnings = snapshot.health.warnings || [];
  byId("warnings").hidden = !warnings.length;
  byId("warnings").replaceChildren(...warnings.map(({ text, remedy }) => {
    const line = document.createElement("li");
    line.textContent = `${text}: ${remedy}`;
    return line;
  }));
  const cards = Object.keys(NAMES).filter((name) => dependencies[name]).map((name) => {
    const { state, since, reason: why } = dependencies[name];
    const card = document.createElement("div");
    card.className = "dependency " + state;
    card.dataset.name = name;
    card.dataset.state = state;
    const head = document.createElement("h3");
    const word = document.createElement("span");
    word.textContent = WORDS[state] || state;
    head.append(NAMES[name], word);
    const text = document.createElement("p");
    const held = Math.max(0, (Date.parse(snapshot.now) - Date.parse(since)) / 1000);
    text.textContent = state === "up" ? `for ${age(Math.round(held))}` : `${age(Math.round(held))}: ${why || ""}`;
    text.title = why || since;
    card.append(head, text);
    return card;
  });
  byId("dependencies").replaceChildren(...cards);
}

let before = null;
let latencyAt = 0; // uptime, in seconds, of the newest latency

function show(snapshot) {
  health(snapshot);
  byId("route").textContent = `${snapshot.stream} → ${snapshot.consumer} → ${snapshot.table}`;
  byId("build").textContent = `version ${snapshot.version}, up for ${span(snapshot.uptime_seconds)}`;
  const inserted = value(snapshot, "signals_inserted_total");
  const dead = sum(snapshot, "signals_dead_lettered_total");
  const pending = value(snapshot, "consumer_pending_messages");
  const unacked = value(snapshot, "consumer_ack_pending_messages");
  byId("now-total").textContent = count(inserted);
  byId("now-lag").textContent = count(pending + unacked);
  byId("now-age").textContent = pending + unacked > 0 ? age(value(snapshot, "consumer_oldest_age_seconds")) : "none waits";
  byId("now-dead").textContent = count(dead);
  byId("now-dead-share").textContent = inserted + dead > 0 ? `${((100 * dead) / (inserted + dead)).toFixed(2)} %` : "–";
  byId("now-held").textContent = count(value(snapshot, "in_flight_messages"));
  byId("now-held-bytes").textContent = bytes(value(snapshot, "in_flight_bytes"));
  kinds(snapshot);
  const reasons = series(snapshot, "signals_dead_lettered_total").map((one) => [one.labels.reason, one.value]);
  reasons.sort((a, b) => b[1] - a[1]);
  table("reasons", [["reason", ""], ["letters", "number"]],
    reasons.map(([reason, n]) => [reason.replaceAll("_", " "), n ? count(n) : { text: "0", kind: "number zero" }]), "");
  table("letters", [["when", ""], ["reason", ""], ["what is wrong", "words"], ["subject", ""], ["letter", "number"]],
    snapshot.last_dead_letters.slice(0, 8).map((one) => [clock(one.at), one.reason.replaceAll("_", " "), one.error, one.subject, `#${one.dead_letter_seq}`]),
    "No dead letter since the start.");
  table("batches", [["when", ""], ["rows", "number"], ["size", "number"], ["insert", "number"], ["closed by", ""]],
    snapshot.last_batches.slice(0, 6).map((one) => [clock(one.at), count(one.rows), bytes(one.bytes), span(one.insert_seconds), one.closed_by.replaceAll("_", " ")]),
    "No batch since the start.");
  if (before && before.uptime_seconds < snapshot.uptime_seconds) deltas(before, snapshot, inserted, dead, pending, unacked);
  before = snapshot;
}

function deltas(old, snapshot, inserted, dead, pending, unacked) {
  const seconds = snapshot.uptime_seconds - old.uptime_seconds;
  const perSecond = Math.max(0, inserted - value(old, "signals_inserted_total")) / seconds;
  const latency = [0.5, 0.99].map((q) => quantile(histogram(old, "end_to_end_latency_seconds"), histogram(snapshot, "end_to_end_latency_seconds"), q));
  const insert = [0.5, 0.99].map((q) => quantile(histogram(old, "insert_duration_seconds"), histogram(snapshot, "insert_duration_seconds"), q));
  const ms = (s) => (s == null ? null : s * 1000);
  byId("now-rate").textContent = rate(perSecond);
  if (latency[1] != null) {
    const [number, unit] = span(latency[1]).split(" ");
    byId("now-p99").textContent = number;
    byId("now-p99-unit").textContent = unit;
    byId("now-p50").textContent = span(latency[0]);
    latencyAt = snapshot.uptime_seconds;
  } else if (snapshot.uptime_seconds - latencyAt > 5) {
    // Nothing was committed for a while: the last value is no longer true.
    for (const id of ["now-p99", "now-p50"]) byId(id).textContent = "–";
    byId("now-p99-unit").textContent = "";
  }
  const at = Date.parse(snapshot.now) / 1000;
  const points = {
    rate: [perSecond], latency: latency.map(ms), lag: [pending, unacked],
    rows: [mean(histogram(old, "batch_rows"), histogram(snapshot, "batch_rows"))],
    insert: insert.map(ms), dead: [Math.max(0, dead - sum(old, "signals_dead_lettered_total")) / seconds],
  };
  charts.forEach((chart) => set(chart, at, points[chart.id]));
}

function lost() {
  byId("verdict").textContent = "no answer";
  byId("verdict").className = "badge down";
  byId("reason").hidden = false;
  byId("reason").textContent = "The daemon does not answer; what is shown is its last word. Trying again.";
}

legends();
const redraw = () => charts.forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
function listen() {
  const events = new EventSource("/events");
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    lost();
    // Refused outright, such as by a daemon that has enough listeners: the browser gives up.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}
listen();
