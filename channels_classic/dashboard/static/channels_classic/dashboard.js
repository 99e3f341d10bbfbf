/*
 * The page of channels_classic.dashboard. Each status that arrives is drawn as a whole, and kept for the charts.
 *
 * The page asks over its socket when no status came for a while. Without an answer it says so and asks over HTTP, which
 * may be served by another program. Nothing is asked while the page is hidden. Names come from the layer, so they are
 * only ever written as text.
 */
"use strict";

(() => {
  const ASK = 2000, LATE = 6000; // milliseconds without a status until a page asks, and until the answer is late
  const NEXT = 0.5, SHOWN = 30, KEPT = 5 * 60; // seconds: between two statuses, of a chart at least and at most
  const NAMES = 3; // of a list in a cell
  const body = document.body, byId = (id) => document.getElementById(id);
  const parsed = (id) => JSON.parse(byId(id).textContent);
  const {meanings, worrying} = parsed("texts"), history = [];
  let last = null, socket = null, arrived = 0, polling = false;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const most = (items, value) => items.reduce((found, item) => Math.max(found, value(item)), 0);
  const round = (number) => (number < 10 ? Math.round(number * 10) / 10 : Math.round(number));
  const span = (seconds) => {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
    }
    return `${Math.round(seconds)} s`;
  };
  const counted = (numbers) => {
    const parts = Object.entries(numbers).map(([name, number]) => `${name} × ${number}`), more = parts.length - NAMES;
    return parts.slice(0, NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
  };

  // Charts

  const rate = (now, before, value) =>
    before && now.time > before.time ? Math.max(0, value(now) - value(before)) / (now.time - before.time) : 0;
  const CHARTS = [
    ["sockets", (now) => now.totals.sockets],
    ["messages per second", (now, before) => rate(now, before, (status) => status.totals.messages)],
    ["waiting messages", (now) => now.totals.waiting],
    ["age of the oldest, seconds", (now) => now.totals.oldest],
    ["busy threads", (now) => now.totals.busy],
    ["lost messages", (now) => now.totals.lost],
  ];

  const line = (points) => {
    const SVG = "http://www.w3.org/2000/svg", svg = document.createElementNS(SVG, "svg");
    const end = history[history.length - 1].time, width = Math.max(SHOWN, end - history[0].time), top = most(points, ([, value]) => value) || 1;
    const polyline = document.createElementNS(SVG, "polyline");
    const place = ([time, value]) => `${(100 - ((end - time) / width) * 100).toFixed(2)},${(29 - (value / top) * 28).toFixed(2)}`;
    polyline.setAttribute("points", points.map(place).join(" "));
    svg.setAttribute("viewBox", "0 0 100 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(polyline);
    return svg;
  };

  const chart = ([title, value]) => {
    const points = history.map((moment, index) => [moment.time, value(moment, history[index - 1])]);
    const figure = make("figure");
    figure.append(make("strong", String(round(points[points.length - 1][1]))), make("figcaption", title), line(points));
    return figure;
  };

  // Tables

  const table = (id, columns, rows, all = rows.length) => {
    if (!rows.length) {
      byId(id).replaceChildren(make("p", "none"));
      return;
    }
    const head = make("tr"), content = make("tbody"), whole = make("table"), top = make("thead");
    columns.forEach(([title, kind]) => head.append(make("th", title, {scope: "col", class: kind || ""})));
    rows.forEach(({cells, bad}) => {
      const row = make("tr", undefined, {class: bad ? "bad" : ""});
      cells.forEach((cell, index) => row.append(index
        ? make("td", String(cell), {class: columns[index][1] || ""})
        : make("th", String(cell), {scope: "row"})));
      content.append(row);
    });
    top.append(head);
    whole.append(top, content);
    const rest = all - rows.length;
    byId(id).replaceChildren(whole, ...(rest ? [make("p", `and ${rest} more; manage.py channels shows all`)] : []));
  };

  const number = (title) => [title, "number"];
  const drawTables = (status, before) => {
    const earlier = new Map((before ? before.channels : []).map((channel) => [channel.name, channel.messages]));
    const seconds = before ? status.time - before.time : 0;
    table("channels",
      [["channel"], number("waiting"), number("oldest"), number("per second"), number("messages"), number("workers"), number("full"), ["lost", "long"]],
      status.channels.map((channel) => ({
        bad: channel.waiting && (channel.oldest > 1 || !(channel.workers || channel.owner)),
        cells: [
          channel.owner ? `inbox of ${channel.owner}` : channel.name, channel.waiting,
          channel.waiting ? `${channel.oldest} s` : "",
          seconds > 0 && earlier.has(channel.name) ? round(Math.max(0, channel.messages - earlier.get(channel.name)) / seconds) : "",
          channel.messages, channel.owner ? "" : channel.workers, channel.refused || "",
          counted(channel.losses),
        ],
      })), status.rows.channels);
    table("workers",
      [["host"], number("pid"), ["version"], number("up"), number("processes"), number("threads"), number("busy"), number("heard"), ["runs", "long"]],
      status.workers.map((worker) => ({
        bad: worker.heard > 12,
        cells: [worker.host, worker.pid, worker.version, span(worker.uptime), worker.processes, worker.threads, worker.busy,
          `${span(worker.heard)} ago`, counted(worker.running)],
      })), status.rows.workers);
    table("servers",
      [["host"], number("pid"), ["version"], number("up"), number("sockets"), number("requests"), number("groups"), number("heard")],
      status.interface_servers.map((server) => ({
        bad: server.heard > 12,
        cells: [server.host, server.pid, server.version, span(server.uptime), server.sockets, server.requests, server.groups,
          `${span(server.heard)} ago`],
      })), status.rows.interface_servers);
    table("groups", [["group"], number("members")],
      Object.entries(status.groups).slice(0, 20).map((cells) => ({cells})));
    for (const [id, first, counts] of [["losses", "kind", "messages"], ["limits", "limit", "clients"]]) {
      table(id, [[first], number(counts), ["meaning", "long"]],
        Object.entries(status[id]).map(([name, times]) => ({cells: [name, times, meanings[name] || ""]})));
    }
  };

  // What is wrong

  const recent = (status, counts, what) => {
    const past = history.find((moment) => moment.time >= status.time - 60);
    return Object.entries(status[counts])
      .map(([name, number]) => [name, number - (past[counts][name] || 0)])
      .filter(([name, number]) => number > 0 && (worrying.includes(name) || !(name in meanings)))
      .map(([name, number]) => `${number} ${what} within the last minute (${name}): ${meanings[name] || "see the log"}.`);
  };

  const drawProblems = (problems) => {
    const items = problems.map((problem) => make("li", problem));
    const shown = [...byId("problems").children].map((item) => item.textContent).join("\n");
    if (!items.length) items.push(make("li", "No problem was found.", {class: "well"}));
    if (items.map((item) => item.textContent).join("\n") !== shown) byId("problems").replaceChildren(...items);
  };

  const show = (status) => {
    arrived = Date.now();
    body.classList.toggle("stale", "error" in status);
    if (status.error) {
      drawProblems([status.error]);
      return;
    }
    if (last && status.time < last.time + NEXT) return;  // of another worker, at the same moment
    history.push({time: status.time, totals: status.totals, losses: status.losses, limits: status.limits});
    while (history[0].time < status.time - KEPT) history.shift();
    drawProblems([
      ...status.problems,
      ...recent(status, "losses", "message(s) were lost"),
      ...recent(status, "limits", "client(s) reached a limit"),
    ]);
    byId("charts").replaceChildren(...CHARTS.map(chart));
    drawTables(status, last);
    last = status;
  };

  // How a status comes

  const source = (text, kind) => {
    const element = byId("source");
    element.className = kind;
    if (element.textContent !== text) element.textContent = text;
  };

  class Refusal extends Error {
    constructor(status) {
      super(`status ${status}`);
      this.status = status;
    }
  }

  // What the way in which a request fails says of the site, when nothing else does.
  const reason = (error) => {
    if (error.name === "TimeoutError") {
      return last && !last.workers.length ? "No worker takes the messages of this page: start runworker."
        : "No worker takes the messages of this page: all of them are busy with slow consumers, hang, or have ended.";
    }
    if (error.status === 503) {
      return "The interface server answers 503: the channel layer is down, out of memory or full, or no worker answered in time.";
    }
    if (error.status === 0 || error.status === 403) return "You are logged out: load this page again."; // 0: a redirection
    if (error.status) return `The site answers ${error.status}: the log of its workers has the reason.`;
    return "The interface server cannot be reached.";
  };

  const poll = async () => {
    if (polling) return;
    polling = true;
    try {
      const options = {credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(LATE)};
      const response = await fetch(body.dataset.statusUrl, options);
      if (!response.ok) throw new Refusal(response.status);
      show(await response.json());
      source("Every few seconds; not live: nothing answers the socket of this page", "late");
    } catch (error) {
      body.classList.add("stale");
      const time = last ? new Date(last.time * 1000).toLocaleTimeString() : "never";
      source(`No answer for ${span((Date.now() - arrived) / 1000)}`, "late");
      drawProblems([`${reason(error)} The rest of this page is as it was at ${time}.`]);
    }
    polling = false;
  };

  const connect = () => {
    const address = new URL("live", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.search = address.hash = "";
    const made = new WebSocket(address);
    made.onopen = () => { socket = made; made.send("?"); };
    made.onmessage = (event) => {
      show(JSON.parse(event.data));
      source("Live", "live");
    };
    made.onclose = () => {
      socket = null;
      setTimeout(connect, 3000 + Math.random() * 3000);
    };
  };

  const tick = () => {
    const age = Date.now() - arrived;
    if (!document.hidden && age > ASK) {
      if (socket) socket.send("?");
      if (!socket || age > LATE) poll();
    }
    // Random, so that several pages do not ask at the same moment.
    setTimeout(tick, ASK / 2 + Math.random() * ASK / 2);
  };

  show(parsed("status"));
  source("Connecting", "");
  connect();
  tick();
})();
