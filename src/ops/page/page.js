"use strict";
// The live page: the daemon's last 15 minutes, then one snapshot a second over server-sent events.
// All text of others goes in as text, never as HTML.

const KEPT = 900; // points on the charts, one a second
const SILENCE = 4; // seconds without a point that are shown as no answer
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

// ---- charts

const ms = (n) => (n == null ? "–" : span(n / 1000));
const charts = [
  { id: "rate", lines: [["signals", "--one", "signals_per_second"]], fill: true, show: rate },
  { id: "latency", lines: [["p50", "--one", "latency_p50_ms"], ["p99", "--two", "latency_p99_ms"]], show: ms },
  { id: "lag", lines: [["pending", "--one", "pending"], ["unacked", "--two", "unacked"]], show: count },
  { id: "rows", lines: [["rows", "--one", "batch_rows"]], fill: true, show: count },
  { id: "insert", lines: [["p50", "--one", "insert_p50_ms"], ["p99", "--two", "insert_p99_ms"]], show: ms },
  { id: "dead", lines: [["letters", "--two", "dead_letters_per_second"]], fill: true, show: rate },
];
let points = []; // the newest last
let restarts = []; // seconds since the epoch

const place = (chart) => byId("chart-" + chart.id);

function draw(chart) {
  if (chart.plot) chart.plot.destroy();
  const quiet = colour("--quiet"), line = colour("--line");
  const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  chart.plot = new uPlot({
    width: place(chart).clientWidth, height: place(chart).clientHeight,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "page" } },
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
    hooks: { drawClear: [shade], draw: [mark], setCursor: [() => values(chart)] },
  }, data(chart), place(chart));
}

// Behind the lines: the seconds in which the daemon could not ingest, or did not answer.
function shade(plot) {
  const { left, top, width, height } = plot.bbox;
  const band = (from, to, name) => {
    const x = (at) => Math.min(left + width, Math.max(left, plot.valToPos(at, "x", true)));
    plot.ctx.fillStyle = colour(name);
    plot.ctx.fillRect(x(from), top, Math.max(1, x(to) - x(from)), height);
  };
  points.forEach((point, i) => {
    const next = points[i + 1] || point;
    if (next.at - point.at > SILENCE) band(point.at, next.at, "--line");
    else if (!point.ready) band(point.at, Math.max(next.at, point.at + 1), "--down-soft");
  });
}

// Before the lines: restarts.
function mark(plot) {
  const { left, top, width, height } = plot.bbox;
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = colour("--wait");
  ctx.setLineDash([4, 4]);
  for (const at of restarts) {
    const x = plot.valToPos(at, "x", true);
    if (x < left || x > left + width) continue;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.restore();
}

// A second without an answer is a gap in every line.
function data(chart) {
  const columns = [[], ...chart.lines.map(() => [])];
  points.forEach((point, i) => {
    if (i > 0 && point.at - points[i - 1].at > SILENCE) {
      columns[0].push(points[i - 1].at + 1);
      chart.lines.forEach((_, at) => columns[at + 1].push(null));
    }
    columns[0].push(point.at);
    chart.lines.forEach(([, , field], at) => columns[at + 1].push(point[field]));
  });
  return columns;
}

function add(more) {
  const last = points.length ? points[points.length - 1].at : 0;
  // A daemon that was restarted knows nothing from before: the page does.
  const known = more.length ? points.filter((point) => point.at < more[0].at) : points;
  points = (more.length > 1 ? [...known, ...more] : [...points, ...more.filter((point) => point.at > last)]).slice(-KEPT);
  restarts = restarts.filter((at) => points.length && at >= points[0].at - SILENCE);
  charts.forEach(redrawn);
}

function redrawn(chart) {
  const newest = points[points.length - 1];
  const isEmpty = !points.some((point) => chart.lines.some(([, , field]) => point[field] != null));
  place(chart).classList.toggle("empty", isEmpty);
  // For programs that look: how many points it has, and the newest one.
  place(chart).dataset.points = points.length;
  place(chart).dataset.last = newest ? chart.lines.map(([, , field]) => newest[field] ?? "").join(",") : "";
  chart.plot.setData(data(chart));
  values(chart);
}

// The values at the crosshair, or else the newest; and the same in words.
function values(chart) {
  if (!chart.plot) return;
  const { idx } = chart.plot.cursor;
  const columns = chart.plot.data;
  const isLive = idx == null;
  const at = isLive ? columns[0].length - 1 : idx;
  const shown = chart.lines.map((_, i) => chart.show(columns[i + 1][at]));
  chart.values.forEach((place, i) => { place.textContent = shown[i]; });
  const moment = isLive ? "now" : clock(columns[0][at] * 1000);
  const words = chart.lines.map(([label], i) => `${label} ${shown[i]}`).join(", ");
  place(chart).setAttribute("aria-label", `${chart.title}, ${moment}: ${words}`);
  if (!isLive) byId("moment").textContent = `At ${moment}.`;
  else if (byId("moment").textContent.startsWith("At ")) byId("moment").textContent = "Now.";
}

// The arrow keys move the crosshair of all charts; Escape removes it.
function keys(chart, event) {
  const times = chart.plot.data[0];
  const end = times.length - 1;
  const from = chart.plot.cursor.idx ?? end;
  const step = event.shiftKey ? 60 : 1;
  const to = { ArrowLeft: from - step, ArrowRight: from + step, Home: 0, End: end }[event.key];
  if (event.key !== "Escape" && to == null) return;
  event.preventDefault();
  const left = to == null ? -10 : chart.plot.valToPos(times[Math.min(end, Math.max(0, to))], "x");
  chart.plot.setCursor({ left, top: to == null ? -10 : 10 }, true, true);
  say(place(chart).getAttribute("aria-label"));
}

function legends() {
  for (const chart of charts) {
    const legend = document.createElement("span");
    legend.className = "legend quiet";
    chart.values = chart.lines.map(([label, name]) => {
      const key = document.createElement("span");
      if (name === "--two") key.className = "two";
      const value = document.createElement("b");
      key.append(chart.lines.length > 1 ? label + " " : "", value);
      legend.append(key);
      return value;
    });
    const caption = place(chart).parentElement.querySelector("figcaption");
    chart.title = caption.querySelector("h2").textContent;
    caption.append(legend);
    place(chart).classList.add("empty");
    place(chart).addEventListener("keydown", (event) => keys(chart, event));
    draw(chart);
  }
}

// ---- tables

function table(id, heads, rows, none) {
  const body = byId(id);
  const cell = (tag, content, kind) => {
    const made = document.createElement(tag);
    if (tag === "th") made.scope = "col";
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
  body.replaceChildren(head, ...lines);
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

// Reads words aloud, where a screen reader listens.
function say(words) {
  byId("said").textContent = words;
}

// The verdict, also where only the tab is seen.
function judged(words, kind) {
  byId("verdict").textContent = words;
  byId("verdict").className = "badge " + kind;
  document.title = `${kind === "up" ? "✓" : "✗"} ${words} – RiskSignal Ingest`;
  const icon = kind === "up" ? "/icon.svg" : "/icon-down.svg";
  if (!byId("icon").href.endsWith(icon)) byId("icon").href = icon;
}

// Where the runbook says what to do.
const PAGES = {
  pipeline: "risksignalnotready", nats: "nats-is-down", jetstream: "jetstream-is-down",
  clickhouse: "clickhouse-is-down", schema: "schema-is-down",
};

// A line of what is wrong: its name, the text with its present figures, a page of the runbook, and
// whether it is a warning, which stops nothing yet.
function line(name, text, anchor, isWarning = false) {
  return { name, text, anchor, isWarning };
}

// Shows the lines. One that stays keeps its link, and with it the focus; figures change, and are
// not read aloud again.
function list(lines, verdict) {
  const known = new Map([...byId("wrong").children].map((item) => [item.dataset.name, item]));
  const items = lines.map(({ name, text, anchor, isWarning }) => {
    const item = known.get(name) || document.createElement("li");
    if (!item.firstChild) {
      const link = document.createElement("a");
      link.textContent = "What to do";
      link.setAttribute("aria-label", `What to do: ${name}`);
      item.append("", link);
      item.dataset.name = name;
    }
    item.firstChild.data = text + " ";
    item.classList.toggle("warning", isWarning);
    item.lastChild.setAttribute("href", "/runbook#" + anchor);
    return item;
  });
  const is = [...byId("wrong").children];
  if (is.length !== items.length || is.some((item, i) => item !== items[i])) byId("wrong").replaceChildren(...items);
  // Only a change is news.
  const news = [verdict, ...lines.map(({ name }) => name)].join("; ");
  if (byId("wrong").dataset.news !== news) say(news);
  byId("wrong").dataset.news = news;
}

// Is anything lost, what is wrong, how long until full.
function headline(snapshot) {
  const { ready, dependencies } = snapshot.health;
  const lost = value(snapshot, "messages_lost_total");
  byId("lost").textContent = lost
    ? `${count(lost)} messages are lost since the start.`
    : ready ? "No loss since the daemon's start." : "No loss since the daemon's start: signals wait in JetStream.";
  byId("lost").className = lost ? "bad" : "good";
  const down = Object.keys(NAMES).filter((name) => dependencies[name] && dependencies[name].state !== "up");
  const wrong = down.map((name) => {
    const { reason, state } = dependencies[name];
    return line(`${NAMES[name]} is ${state}`, `${NAMES[name]}: ${reason || state}.`, PAGES[name]);
  });
  if (!ready && !wrong.length) wrong.push(line("The daemon does not ingest", `${snapshot.health.reason}.`, "risksignalnotready"));
  const warnings = snapshot.health.warnings || [];
  const isNamed = warnings.some(({ code }) => code === "messages_lost");
  if (lost && !isNamed) wrong.push(line("Messages are lost", "Messages are lost.", "risksignalmessageslost"));
  if (snapshot.payload_faults.length) wrong.push(line("Payloads break their contracts", "Payloads break their contracts.", "risksignalpayloadsfaulty", true));
  for (const { code, name, text, remedy } of warnings) {
    const isFull = code === "storage_full" || code === "nats_unhealthy";
    const page = WARNINGS[code] || (isFull ? "risksignalstoragefull" : "risksignalstoragefilling");
    wrong.push(line(`${code.replaceAll("_", " ")}: ${name}`, `${text}: ${remedy}.`, page, !isFull));
  }
  list(wrong, ready ? "Ingesting" : "Not ingesting");
  byId("full").textContent = room(snapshot.storages || []);
}

// The time until the first of them is full.
function room(storages) {
  if (!storages.length) return "The time until full is not known yet.";
  const full = storages.find((one) => one.level === "full" || one.refusal);
  if (full) return `${full.name} takes no more.`;
  const growing = storages.filter((one) => one.seconds_until_full != null);
  const first = growing.sort((a, b) => a.seconds_until_full - b.seconds_until_full)[0];
  return first
    ? `${first.name} is full in ${age(first.seconds_until_full)} at the present growth.`
    : "Nothing fills up at the present growth.";
}

// Warnings with a page of their own.
const WARNINGS = {
  history_held: "risksignalhistoryheld", history_never_purged: "risksignalhistoryneverpurged",
  consumer_paused: "risksignalconsumerpaused", messages_lost: "risksignalmessageslost",
  nats_too_old: "a-server-is-too-old", clickhouse_too_old: "a-server-is-too-old",
};

function health(snapshot) {
  const { ready, dependencies } = snapshot.health;
  judged(ready ? "ingesting" : "not ingesting", ready ? "up" : "down");
  headline(snapshot);
  const cards = Object.keys(NAMES).filter((name) => dependencies[name]).map((name) => {
    const { state, since, reason: why } = dependencies[name];
    const card = document.createElement("div");
    card.className = "dependency " + state;
    card.dataset.name = name;
    card.dataset.state = state;
    const head = document.createElement("h2");
    const word = document.createElement("span");
    word.textContent = WORDS[state] || state;
    head.append(NAMES[name] + " ", word);
    const text = document.createElement("p");
    const held = Math.max(0, (Date.parse(snapshot.now) - Date.parse(since)) / 1000);
    // The headline has the reason in full.
    text.textContent = `for ${age(Math.round(held))}`;
    text.title = why || since;
    card.append(head, text);
    return card;
  });
  byId("dependencies").replaceChildren(...cards);
}

let started = null; // the daemon's start, in seconds since the epoch

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
  table("payloads", [["type", ""], ["source", ""], ["signals", "number"], ["what is wrong with the first", "words"], ["newest", "number"]],
    snapshot.payload_faults.map((one) => [one.event_type, one.source_id, count(one.count), one.faults, `#${one.stream_seq}`]),
    "Each payload since the start keeps its contract.");
  table("letters", [["when", ""], ["reason", ""], ["what is wrong", "words"], ["subject", ""], ["letter", "number"]],
    snapshot.last_dead_letters.slice(0, 8).map((one) => [clock(one.at), one.reason.replaceAll("_", " "), one.error, one.subject, `#${one.dead_letter_seq}`]),
    "No dead letter since the start.");
  table("batches", [["when", ""], ["rows", "number"], ["size", "number"], ["insert", "number"], ["closed by", ""]],
    snapshot.last_batches.slice(0, 6).map((one) => [clock(one.at), count(one.rows), bytes(one.bytes), span(one.insert_seconds), one.closed_by.replaceAll("_", " ")]),
    "No batch since the start.");
  restarted(snapshot);
  if (snapshot.point) now(snapshot.point);
}

// A daemon that began after the oldest point was restarted since.
function restarted(snapshot) {
  const at = Date.parse(snapshot.now) / 1000 - snapshot.uptime_seconds;
  if (started != null && Math.abs(at - started) <= 2) return;
  started = at;
  if (at >= Date.parse(snapshot.now) / 1000 - KEPT) restarts.push(at);
}

let latencyAt = 0; // time of the newest latency
function now(point) {
  byId("now-rate").textContent = rate(point.signals_per_second);
  if (point.latency_p99_ms != null) {
    const [number, unit] = ms(point.latency_p99_ms).split(" ");
    byId("now-p99").textContent = number;
    byId("now-p99-unit").textContent = unit;
    byId("now-p50").textContent = ms(point.latency_p50_ms);
    latencyAt = point.at;
  } else if (point.at - latencyAt > 5) {
    // Nothing was committed for a while: the last value is no longer true.
    for (const id of ["now-p99", "now-p50"]) byId(id).textContent = "–";
    byId("now-p99-unit").textContent = "";
  }
  add([point]);
}

function lost() {
  judged("no answer", "down");
  const words = "The daemon does not answer; the page shows its last state and tries again.";
  list([line("The daemon does not answer", words, "risksignaldown")], "No answer");
}

legends();
const redraw = () => charts.forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
function listen() {
  const events = new EventSource("/events");
  events.addEventListener("history", (event) => add(JSON.parse(event.data)));
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    lost();
    // Refused outright, such as by a daemon that has enough listeners: the browser gives up.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}
listen();
