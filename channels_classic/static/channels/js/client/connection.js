/*
 * The browser client of channels_classic: a connection that comes back by itself, and then gets what it missed.
 *
 *     <script type="module">
 *       import { Connection } from "{% static 'channels/js/client/connection.js' %}";
 *       const connection = new Connection("/chat/lobby/");
 *       connection.addEventListener("message", ({ data }) => { … });
 *       connection.send({ text: "hello" });
 *     </script>
 *
 * BSD-3-Clause. Node needs a release with a global WebSocket, 22 or later.
 */

const EVENT_STREAM = "text/event-stream";
const RECOVER = "channels.recover.v1";
const CURSORS = "channels.cursors.";

/* Most characters of the cursors in a handshake. Proxies refuse a header of more than 4 or 8 KB. */
const MOST_CURSORS = 3000;

/* Codes with which a server closes a connection that should come again later, perhaps with "retry=SECONDS" as the reason. */
const COME_AGAIN = [1012, 1013];
const RETRY = /(?:^|[;, ])retry=(\d{1,5}(?:\.\d{1,3})?)(?=$|[;, ])/;

/* The code of a connection that ended without a close frame. */
const ABNORMAL = 1006;

/* Times are in milliseconds. */
const DEFAULTS = {
  json: true,
  protocols: null,
  eventStreams: false,
  queue: 100,
  timeout: 10_000,
  firstDelay: 2000,
  longestDelay: 30_000,
};

/* A connection that was open for this long was a good one: the delays begin anew. */
const GOOD = 5000;

/*
 * A computer that sleeps runs no timers, and when it wakes up its sockets look open although the server gave them up
 * long ago. Browsers run the timers of hidden pages once a minute at least, so a longer pause was a sleep.
 */
const TICK = 15_000;
const SLEEP = 90_000;

export class Connection extends EventTarget {
  /* The cursor of each recoverable group, the latest last. */
  cursors = new Map();

  #url;
  #options;
  #state = "waiting";
  #attempt = null; // what a transport calls for an attempt before this one is ignored
  #transport = null;
  #timer;
  #failures = 0; // for the delays: in a row, without a good connection between them
  #unopened = 0; // attempts since a connection was open
  #open = openSocket; // the transport that was open last
  #openedAt = 0;
  #queue = [];
  #streams = new Map();
  #watch = null;

  constructor(url, options = {}) {
    super();
    const unknown = Object.keys(options).filter((name) => !(name in DEFAULTS));
    if (unknown.length) {
      throw new TypeError(`Unknown options: ${unknown.join(", ")}. Known are ${Object.keys(DEFAULTS).join(", ")}.`);
    }
    this.#options = { ...DEFAULTS, ...options };
    this.#url = typeof url === "function" ? url : () => url;
    if (typeof url !== "function") {
      absolute(url); // raises for one that is not valid
    }
    this.connect();
  }

  /* "connecting", "open", "waiting" for the next attempt, or "closed" by this page. */
  get state() {
    return this.#state;
  }

  /* Connect now, without the rest of the delay, and after `close()` again. */
  connect() {
    if (this.#state === "waiting" || this.#state === "closed") {
      this.#watch ??= watch(this.#wake, this.#drop);
      this.#failures = 0;
      this.#begin();
    }
  }

  /* Close for good. What waits to be sent is dropped. */
  close(code = 1000, reason = "") {
    if (this.#state === "closed") {
      return;
    }
    this.#transport?.close(code, reason); // raises for a code that is not valid
    this.#watch();
    this.#watch = null;
    this.#queue = [];
    this.#end("closed", { code, reason, delay: null });
  }

  /* Send a message, or keep it until the connection is open. One that was sent is never sent again. */
  send(message) {
    const data = this.#options.json && !isBinary(message) ? JSON.stringify(message) : message;
    if (data === undefined) {
      throw new TypeError("This message cannot be written as JSON.");
    }
    if (this.#state === "closed") {
      throw new Error("The connection is closed: call connect() before send().");
    }
    if (this.#state === "open" && this.#transport.send(data)) {
      return;
    }
    if (this.#queue.length >= this.#options.queue) {
      throw new Error(`The connection is not open, and ${this.#queue.length} messages wait for it.`);
    }
    this.#queue.push(data);
  }

  /* Return the stream of this name: messages of the form {stream, payload}, as (de)multiplexers speak them. */
  stream(name) {
    if (!this.#streams.has(name)) {
      this.#streams.set(name, new Stream(this, name));
    }
    return this.#streams.get(name);
  }

  /* An attempt, from its begin to its end */

  #begin() {
    const attempt = {};
    const whileCurrent = (act) => (...facts) => {
      if (this.#attempt === attempt) {
        act(...facts);
      }
    };
    clearTimeout(this.#timer);
    this.#attempt = attempt;
    this.#state = "connecting";
    this.#timer = setTimeout(() => this.#drop("It was not open in time."), this.#options.timeout);
    const open = this.#choose();
    const on = {
      open: whileCurrent(() => this.#opened(open)),
      message: whileCurrent((message) => this.#received(message)),
      error: whileCurrent((error) => this.#emit("error", { error })),
      close: whileCurrent((code, reason) => this.#lost(code, reason)),
    };
    Promise.resolve()
      .then(() => this.#url())
      .then(whileCurrent((url) => {
        this.#transport = open(absolute(url), this.#options.protocols, this.cursors, on);
      }))
      .catch(whileCurrent((error) => {
        this.#emit("error", { error });
        this.#lost(ABNORMAL, "");
      }));
  }

  /* The transport of an attempt: that which was open last. After two attempts in vain it is the turn of the other. */
  #choose() {
    const other = this.#open === openSocket && this.#options.eventStreams ? openEvents : openSocket;
    return Math.floor(this.#unopened++ / 2) % 2 ? other : this.#open;
  }

  #opened(open) {
    clearTimeout(this.#timer);
    this.#open = open;
    this.#unopened = 0;
    this.#state = "open";
    this.#openedAt = Date.now();
    while (this.#queue.length && this.#transport.send(this.#queue[0])) {
      this.#queue.shift();
    }
    this.#emit("open");
  }

  #lost(code, reason) {
    if (this.#state === "open" && Date.now() - this.#openedAt >= GOOD) {
      this.#failures = 0;
    }
    const delay = askedDelay(code, reason) ?? backOff(this.#failures++, this.#options);
    this.#end("waiting", { code, reason, delay });
  }

  #end(state, facts) {
    const wasOpen = this.#state === "open";
    clearTimeout(this.#timer);
    this.#state = state;
    this.#attempt = this.#transport = null;
    if (state === "waiting") {
      this.#timer = setTimeout(() => this.#begin(), facts.delay);
    }
    this.#emit("close", { ...facts, wasOpen });
  }

  /* Give the current attempt up: the network is gone, whatever the socket says. */
  #drop = (reason) => {
    if (this.#attempt) {
      this.#transport?.close(1000, "");
      this.#lost(ABNORMAL, reason);
    }
  };

  #wake = () => {
    if (this.#state === "waiting") {
      this.connect();
    }
  };

  /* Messages */

  #received({ group, cursor, note, data }) {
    if (group) {
      this.cursors.delete(group); // so that the latest is the last
      this.cursors.set(group, cursor);
    }
    if (note === "gap") {
      this.#emit("gap", { group });
    }
    if (note) {
      return;
    }
    try {
      this.#deliver(this.#options.json && typeof data === "string" ? JSON.parse(data) : data, group);
    } catch (error) {
      this.#emit("error", { error });
    }
  }

  #deliver(data, group) {
    const stream = this.#streams.get(data?.stream);
    if (stream) {
      emit(stream, "message", { data: data.payload, group });
    } else {
      this.#emit("message", { data, group });
    }
  }

  #emit(type, facts) {
    emit(this, type, facts);
  }
}

class Stream extends EventTarget {
  #connection;

  constructor(connection, name) {
    super();
    this.#connection = connection;
    this.name = name;
  }

  send(payload) {
    this.#connection.send({ stream: this.name, payload });
  }
}

/*
 * Who is there: a map from each `who` to their list of `info`, one for each of their sockets. It follows the payloads of
 * a stream: {"all": {who: [info, …]}} when the connection opens, then {"join": {who: info}} and {"leave": who}.
 */
export class Presence extends EventTarget {
  people = new Map();

  constructor(stream) {
    super();
    stream.addEventListener("message", ({ data }) => this.#apply(data));
  }

  #apply({ all, join = {}, leave }) {
    if (all) {
      this.people = new Map(Object.entries(all));
    }
    for (const [who, info] of Object.entries(join)) {
      if (!this.people.has(who)) {
        this.people.set(who, [info]);
      }
    }
    this.people.delete(leave);
    emit(this, "change", {});
  }
}

/*
 * Transports. Each opens a connection with the cursors that there are, calls `on`, and returns what closes it and what
 * sends: true unless it is not open any more.
 */

function openSocket(url, protocols, cursors, on) {
  const socket = new WebSocket(url, protocols ?? [RECOVER, offer(cursors)]);
  socket.binaryType = "arraybuffer";
  socket.onopen = on.open;
  socket.onmessage = ({ data }) => on.message(socket.protocol === RECOVER ? divided(data) : { data });
  socket.onclose = ({ code, reason }) => on.close(code, reason);
  return {
    send: (data) => socket.readyState === WebSocket.OPEN && (socket.send(data), true),
    close: (code, reason) => socket.close(code, reason),
  };
}

/* The cursors as a sub-protocol: base64url of JSON. The names of groups and cursors are ASCII. */
function offer(cursors) {
  const write = () => btoa(JSON.stringify(Object.fromEntries(cursors)));
  return CURSORS + shortened(cursors, write).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

/* Return what `write` makes of the cursors, without the oldest if it would be too long for a header. */
function shortened(cursors, write) {
  for (;;) {
    const text = write();
    if (text.length <= MOST_CURSORS) {
      return text;
    }
    cursors.delete(cursors.keys().next().value);
  }
}

/*
 * The parts of a frame: its first line is empty, or holds the group and the cursor of the message that follows. A third
 * word means that none follows: `at` only tells the cursor, `gap` says that messages before it are gone.
 */
function divided(data) {
  const isText = typeof data === "string";
  const bytes = isText ? data : new Uint8Array(data);
  const end = bytes.indexOf(isText ? "\n" : 10);
  const line = isText ? data.slice(0, end) : String.fromCharCode(...bytes.subarray(0, end));
  const [group, cursor, note] = line.split(" ");
  return { group, cursor, note, data: data.slice(end + 1) };
}

/*
 * Server-sent events in place of a socket. `fetch` reads them, because an EventSource sends no cursors with its first
 * request. The first event is the token with which messages are posted, one after another to keep their order.
 */
function openEvents(url, protocols, cursors, on) {
  const ended = new AbortController();
  const address = url.href.replace(/^ws/, "http");
  const ask = (options) => fetch(address, { ...options, cache: "no-store", signal: ended.signal });
  let token = "";
  let sent = Promise.resolve();
  let last = [ABNORMAL, ""];

  const readers = {
    token({ data }) {
      token = data;
      on.open();
    },
    message: on.message,
    gap: ({ data, cursor }) => on.message({ group: data, cursor, note: "gap" }),
    cursor: (event) => on.message({ ...event, note: "at" }),
    close: ({ data }) => (last = [Number(data), ""]),
    // A server that stops ends with the time after which to come back.
    retry: ({ retry }) => (last = token ? [1012, `retry=${retry / 1000}`] : last),
  };

  async function read() {
    const id = shortened(cursors, () => [...cursors].map((pair) => pair.join(" ")).join(", "));
    const answer = await ask({ headers: { Accept: EVENT_STREAM, ...(id && { "Last-Event-ID": id }) } });
    if (!answer.headers.get("Content-Type")?.startsWith(EVENT_STREAM)) {
      throw new Error(`The answer to the request for an event stream is no stream: HTTP ${answer.status}.`);
    }
    for await (const event of events(answer.body)) {
      readers[event.type]?.(event);
    }
  }

  async function post(data) {
    const answer = await ask({ method: "POST", headers: { "Event-Stream-Token": token }, body: data });
    if (answer.status === 429) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * answer.headers.get("Retry-After")));
      await post(data); // it was not taken
    } else if (!answer.ok) {
      throw new Error(`A message was not delivered: HTTP ${answer.status}.`);
    }
  }

  read().catch(on.error).finally(() => on.close(...last));
  return {
    send: (data) => {
      sent = sent.then(() => post(data)).catch(on.error);
      return true;
    },
    close: () => ended.abort(),
  };
}

/* Yield the events of a stream: their type, data, and the group and cursor that their id ends with. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    yield* blocks.flatMap(parsed);
  }
}

function parsed(block) {
  const fields = { data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w*):? ?(.*)$/s.exec(line);
    fields[name] = name === "data" ? [...fields.data, value] : value;
  }
  const [group, cursor] = (fields.id ?? "").split(", ").at(-1).split(" ");
  const type = fields.retry ? "retry" : fields.data.length ? fields.event ?? "message" : group && "cursor";
  return type ? [{ type, group, cursor, retry: fields.retry, data: fields.data.join("\n") }] : [];
}

/* Delays */

/* The delay that the server asks for, and up to half of that more: others were closed at the same time. */
function askedDelay(code, reason) {
  const found = COME_AGAIN.includes(code) && RETRY.exec(reason);
  return found ? Number(found[1]) * 1000 * (1 + Math.random() / 2) : null;
}

/* Random between nothing and a limit that doubles with each failure, so that clients of one server do not come together. */
function backOff(failures, { firstDelay, longestDelay }) {
  return Math.random() * Math.min(longestDelay, firstDelay * 2 ** failures);
}

/* The environment */

/* Call `wake` when a connection should be tried at once, and `drop` when it is gone; return what ends that. */
function watch(wake, drop) {
  const ended = new AbortController();
  const listen = (target, type, act) => target?.addEventListener?.(type, act, { signal: ended.signal });
  let last = Date.now();
  const ticking = setInterval(() => {
    const slept = Date.now() - last > SLEEP;
    last = Date.now();
    if (slept) {
      drop("The computer slept.");
      wake();
    }
  }, TICK);
  ticking.unref?.(); // in Node it keeps no program alive
  listen(globalThis, "offline", () => drop("The browser is offline."));
  listen(globalThis, "online", wake);
  listen(globalThis, "pageshow", ({ persisted }) => persisted && wake());
  listen(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && wake());
  return () => {
    clearInterval(ticking);
    ended.abort();
  };
}

function absolute(url) {
  const found = new URL(url, globalThis.location?.href);
  found.protocol = found.protocol.replace(/^http/, "ws");
  found.hash = ""; // a WebSocket has none
  if (!found.protocol.startsWith("ws")) {
    throw new TypeError(`${url} is no address of a WebSocket: it begins with ws:, wss:, http: or https:, or is a path.`);
  }
  return found;
}

function isBinary(data) {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) || data instanceof Blob;
}

function emit(target, type, facts) {
  target.dispatchEvent(Object.assign(new Event(type), facts));
}
