/*
 * The page of channels_classic.dashboard. Each status that arrives is drawn as a whole, and kept for the charts.
 *
 * The page asks over its socket when no status came for a while; an answer goes to all pages. Without an answer it says
 * so and asks over HTTP, which may be served by another program. Nothing is asked while the page is hidden. Names come
 * from the layer, so they are only ever written as text.
 */
"use strict";

(() => {
  const ASK = 2000, LATE = 6000; // milliseconds without a status until a page asks, and until the answer is late
  const NEXT = 0.5, SHOWN = 30, KEPT = 5 * 60; // seconds: between two statuses, of a chart at least and at most
  const body = document.body, byId = (id) => document.getElementById(id);
  const parsed = (id) => JSON.parse(byId(id).textContent);
  const kinds = parsed("loss-kinds"), history = [];
  let socket = null, arrived = 0, polling = false;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);
  const most = (items, value) => items.reduce((found, item) => Math.max(found, value(item)), 0);
  const plain = (status) => status.channels.filter((channel) => !channel.owner);
  const round = (number) => (number < 10 ? Math.round(number * 10) / 10 : Math.round(number));
  const span = (seconds) => {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
    }
    return `${Math.round(seconds)} s`;
  };
  const counted = (numbers) => Object.entries(numbers).map(([name, number]) => `${name} × ${number}`).join(", ");

  // Charts

  const rate = (now, before, value) =>
    before && now.time > before.time ? Math.max(0, value(now) - value(before)) / (now.time - before.time) : 0;
  const messages = (status) => sum(plain(status), (channel) => channel.messages);
  const CHARTS = [
    ["sockets", (now) => sum(now.interface_servers, (server) => server.sockets)],
    ["messages per second", (now, before) => rate(now, before, messages)],
    ["waiting messages", (now) => sum(plain(now), (channel) => channel.waiting)],
    ["age of the oldest, seconds", (now) => most(plain(now), (channel) => channel.oldest)],
    ["busy threads", (now) => sum(now.workers, (worker) => worker.busy)],
    ["lost messages", (now) => sum(Object.values(now.losses), (number) => number)],
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
    const points = history.map((status, index) => [status.time, value(status, history[index - 1])]);
    const figure = make("figure");
    figure.append(make("strong", String(round(points[points.length - 1][1]))), make("figcaption", title), line(points));
    return figure;
  };

  // Tables

  const table = (id, columns, rows) => {
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
    byId(id).replaceChildren(whole);
  };

  const number = (title) => [title, "number"];
  const drawTables = (status, before) => {
    const earlier = new Map((before ? before.channels : []).map((channel) => [channel.name, channel.messages]));
    const seconds = before ? status.time - before.time : 0;
    table("channels",
      [["channel"], number("waiting"), number("oldest"), number("per second"), number("messages"), number("workers"), ["lost", "long"]],
      status.channels.map((channel) => ({
        bad: channel.waiting && (channel.oldest > 1 || !(channel.workers || channel.owner)),
        cells: [
          channel.owner ? `inbox of ${channel.owner}` : channel.name, channel.waiting,
          channel.waiting ? `${channel.oldest} s` : "",
          seconds > 0 && earlier.has(channel.name) ? round(Math.max(0, channel.messages - earlier.get(channel.name)) / seconds) : "",
          channel.messages, channel.owner ? "" : channel.workers, counted(channel.losses),
        ],
      })));
    table("workers",
      [["host"], number("pid"), ["version"], number("up"), number("processes"), number("threads"), number("busy"), number("heard"), ["runs", "long"]],
      status.workers.map((worker) => ({
        bad: worker.heard > 12,
        cells: [worker.host, worker.pid, worker.version, span(worker.uptime), worker.processes, worker.threads, worker.busy,
          `${span(worker.heard)} ago`, counted(worker.running)],
      })));
    table("servers",
      [["host"], number("pid"), ["version"], number("up"), number("sockets"), number("requests"), number("groups"), number("heard")],
      status.interface_servers.map((server) => ({
        bad: server.heard > 12,
        cells: [server.host, server.pid, server.version, span(server.uptime), server.sockets, server.requests, server.groups,
          `${span(server.heard)} ago`],
      })));
    table("groups", [["group"], number("members")],
      Object.entries(status.groups).slice(0, 20).map((cells) => ({cells})));
    table("losses", [["kind"], number("messages"), ["reason", "long"]],
      Object.entries(status.losses).map(([kind, lost]) => ({cells: [kind, lost, kinds[kind] || ""]})));
  };

  // What is wrong

  const lostOfLate = (status) => {
    const past = history.find((one) => one.time >= status.time - 60);
    return Object.entries(status.losses)
      .map(([kind, lost]) => [kind, lost - (past.losses[kind] || 0)])
      .filter(([kind, lost]) => lost > 0 && kind !== "unknown") // clients leave: that is normal
      .map(([kind, lost]) => `${lost} message(s) were lost within the last minute (${kind}): ${kinds[kind] || "see the log"}.`);
  };

  const drawProblems = (problems) => {
    const items = problems.map((problem) => make("li", problem));
    const shown = [...byId("problems").children].map((item) => item.textContent).join("\n");
    if (!items.length) items.push(make("li", "No problem was found.", {class: "well"}));
    if (items.map((item) => item.textContent).join("\n") !== shown) byId("problems").replaceChildren(...items);
  };

  const show = (status) => {
    arrived = Date.now();
    if (status.error) {
      drawProblems([status.error]);
      return;
    }
    const last = history[history.length - 1];
    if (last && status.time < last.time + NEXT) return;  // of another worker, at the same moment
    history.push(status);
    while (history[0].time < status.time - KEPT) history.shift();
    drawProblems([...status.problems, ...lostOfLate(status)]);
    byId("charts").replaceChildren(...CHARTS.map(chart));
    drawTables(status, last);
  };

  // How a status comes

  const source = (text, kind) => {
    const element = byId("source");
    element.className = kind;
    if (element.textContent !== text) element.textContent = text;
  };

  const poll = async () => {
    if (polling) return;
    polling = true;
    try {
      const options = {credentials: "same-origin", redirect: "error", signal: AbortSignal.timeout(LATE)};
      const response = await fetch(body.dataset.statusUrl, options);
      if (!response.ok) throw new Error(String(response.status));
      show(await response.json());
      source("Every few seconds; not live: nothing answers the socket of this page", "late");
    } catch (error) {
      source(`No answer for ${span((Date.now() - arrived) / 1000)}: no worker takes the messages of this page, or you are logged out`, "late");
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
    // Random, so that of several pages one asks for all.
    setTimeout(tick, ASK / 2 + Math.random() * ASK / 2);
  };

  show(parsed("status"));
  source("Connecting", "");
  connect();
  tick();
})();
