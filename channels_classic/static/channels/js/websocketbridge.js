/*
 * The browser's end: a WebSocket that reconnects, with JSON messages that may be divided into streams.
 *
 *     <script src="{% static "channels/js/websocketbridge.js" %}"></script>
 *     <script>
 *       const bridge = new channels.WebSocketBridge();
 *       bridge.connect("/chat/");
 *       bridge.listen((message) => { … });
 *       bridge.demultiplex("stream", (payload, stream) => { … });
 *       bridge.stream("stream").send({hello: "world"});
 *     </script>
 *
 * Nothing is kept for later: what is sent while the socket is not open is lost, or raises, as with any WebSocket.
 */
(function (root, factory) {
  "use strict";
  if (typeof module === "object" && module.exports) {
    module.exports = factory(root);
  } else if (typeof define === "function" && define.amd) {
    define(() => factory(root));
  } else {
    root.channels = Object.assign(root.channels || {}, factory(root));
  }
})(typeof self === "undefined" ? this : self, (root) => {
  "use strict";

  const EVENTS = ["open", "message", "error", "close"];

  /* Times are in milliseconds. */
  const DEFAULTS = {
    minReconnectionDelay: 1500,
    maxReconnectionDelay: 10000,
    reconnectionDelayGrowFactor: 1.3,
    connectionTimeout: 4000,
    maxRetries: Infinity,
    debug: false,
  };

  /*
   * A WebSocket that connects again whenever it was closed, by whomever and for whatever reason, unless it was closed
   * with `keepClosed`. Listeners and handlers stay; everything else is that of the socket of the moment.
   *
   * `url` may be a function, which is asked before each connection. Delays between connections begin at random between
   * `minReconnectionDelay` and twice that, and grow up to `maxReconnectionDelay`, until a connection is open.
   */
  class ReconnectingWebSocket {
    constructor(url, protocols, options) {
      this._options = Object.assign({}, DEFAULTS, {constructor: root.WebSocket}, options);
      if (typeof this._options.constructor !== "function") {
        throw new TypeError("There is no WebSocket here: give a constructor in the options.");
      }
      this._url = url;
      this._protocols = protocols;
      this._listeners = [];
      this._handlers = {};
      this._retries = 0;
      this._delay = 0;
      this._keepClosed = false;
      this._watch = [
        ["open", () => this._opened()],
        ["close", () => this._closed()],
      ];
      this._connect();
    }

    get readyState() { return this._socket.readyState; }
    get bufferedAmount() { return this._socket.bufferedAmount; }
    get extensions() { return this._socket.extensions; }
    get protocol() { return this._socket.protocol; }
    get url() { return this._socket.url; }
    get binaryType() { return this._socket.binaryType; }
    set binaryType(type) { this._socket.binaryType = type; }

    send(data) {
      this._socket.send(data);
    }

    /*
     * Close this connection, and unless `keepClosed` is set, connect again: after `delay`, if given. Listeners hear of
     * it at once, or without `fastClose` when the server has agreed.
     */
    close(code = 1000, reason = "", {keepClosed = false, fastClose = true, delay = 0} = {}) {
      this._keepClosed = keepClosed;
      this._nextDelay = delay;
      if (keepClosed) {
        clearTimeout(this._reconnection);
        this._reconnection = undefined;
      }
      const socket = this._socket;
      if (this._ended === socket) {
        return;
      }
      socket.close(code, reason);
      if (fastClose) {
        socket.dispatchEvent(new CloseEvent("close", {code, reason, wasClean: true}));
        this._detach(socket); // or it would tell of its end a second time
      }
    }

    addEventListener(type, listener, options) {
      if (this._listeners.some((known) => known.type === type && known.listener === listener)) {
        return;
      }
      const once = typeof options === "object" && options !== null && options.once;
      const heard = !once ? listener : (event) => {
        this.removeEventListener(type, listener);
        (listener.handleEvent || listener).call(listener, event);
      };
      this._listeners.push({type, listener, heard});
      if (this._detached !== this._socket) {
        this._socket.addEventListener(type, heard);
      }
    }

    removeEventListener(type, listener) {
      const index = this._listeners.findIndex((known) => known.type === type && known.listener === listener);
      if (index !== -1) {
        this._socket.removeEventListener(type, this._listeners.splice(index, 1)[0].heard);
      }
    }

    dispatchEvent(event) {
      return this._socket.dispatchEvent(event);
    }

    _connect() {
      const {constructor: Socket, connectionTimeout} = this._options;
      const url = typeof this._url === "function" ? this._url() : this._url;
      const before = this._socket;
      this._log("connect", url);
      const socket = new Socket(url, this._protocols);
      if (before) {
        socket.binaryType = before.binaryType;
        this._detach(before);
      }
      this._socket = socket;
      this._attach(socket);
      this._timeout = setTimeout(() => {
        socket.close();
        this._fail("ETIMEDOUT", `The WebSocket was not open after ${connectionTimeout} ms.`);
      }, connectionTimeout);
    }

    _opened() {
      this._log("open");
      clearTimeout(this._timeout);
      this._retries = 0;
      this._delay = 0;
    }

    _closed() {
      this._log("close");
      this._ended = this._socket;
      clearTimeout(this._timeout);
      if (this._keepClosed) {
        return;
      }
      this._retries += 1;
      if (this._retries > this._options.maxRetries) {
        this._fail("EHOSTDOWN", `The WebSocket could not be opened in ${this._options.maxRetries} attempts.`);
        return;
      }
      this._reconnection = setTimeout(() => this._connect(), this._takeDelay());
    }

    _takeDelay() {
      const {minReconnectionDelay: first, maxReconnectionDelay: last, reconnectionDelayGrowFactor: factor} = this._options;
      this._delay = this._nextDelay || Math.min(this._delay ? this._delay * factor : first + Math.random() * first, last);
      this._nextDelay = 0;
      return this._delay;
    }

    _fail(code, message) {
      this._log(code);
      this._socket.dispatchEvent(Object.assign(new Event("error"), {code, message}));
    }

    _attach(socket) {
      this._watch.forEach(([type, listener]) => socket.addEventListener(type, listener));
      EVENTS.forEach((type) => { socket[`on${type}`] = this._handlers[type] || null; });
      this._listeners.forEach(({type, heard}) => socket.addEventListener(type, heard));
    }

    _detach(socket) {
      this._detached = socket;
      this._watch.forEach(([type, listener]) => socket.removeEventListener(type, listener));
      this._listeners.forEach(({type, heard}) => socket.removeEventListener(type, heard));
      EVENTS.forEach((type) => { socket[`on${type}`] = null; });
    }

    _log(...facts) {
      if (this._options.debug) {
        console.log("WebSocketBridge:", ...facts);
      }
    }
  }

  EVENTS.forEach((type) => Object.defineProperty(ReconnectingWebSocket.prototype, `on${type}`, {
    get() { return this._handlers[type] || null; },
    set(handler) {
      this._handlers[type] = handler;
      if (this._detached !== this._socket) {
        this._socket[`on${type}`] = handler;
      }
    },
  }));

  ["CONNECTING", "OPEN", "CLOSING", "CLOSED"].forEach((state, number) => {
    ReconnectingWebSocket[state] = ReconnectingWebSocket.prototype[state] = number;
  });

  class WebSocketBridge {
    constructor(options) {
      this.socket = null;
      this.streams = {};
      this.default_cb = null;
      this.options = options;
    }

    /*
     * Open the socket. `url` is a path on the page's own host (its root, if left out), a whole URL, or a function that
     * gives one of them. `options` are those of the reconnecting socket, above.
     */
    connect(url, protocols, options) {
      const target = typeof url === "function" ? () => absolute(url()) : absolute(url);
      this.socket = new ReconnectingWebSocket(target, protocols, options);
    }

    /* Call `cb(message, null)` for each message that belongs to no stream. Without it, only streams are heard. */
    listen(cb) {
      if (this.socket === null) {
        throw new TypeError("There is no socket to listen to: call connect() first.");
      }
      this.default_cb = cb;
      this.socket.onmessage = (event) => this._hear(JSON.parse(event.data));
    }

    /* Call `cb(payload, stream)` for each message of a stream. */
    demultiplex(stream, cb) {
      this.streams[stream] = cb;
    }

    send(message) {
      this.socket.send(JSON.stringify(message));
    }

    /* What sends to a stream. */
    stream(stream) {
      return {send: (payload) => this.send({stream, payload})};
    }

    _hear(message) {
      if (message === null || message.stream === undefined) {
        if (this.default_cb) {
          this.default_cb(message, null);
        }
      } else if (Object.prototype.hasOwnProperty.call(this.streams, message.stream)) {
        this.streams[message.stream](message.payload, message.stream);
      }
    }
  }

  function absolute(url) {
    if (url !== undefined && !url.startsWith("/")) {
      return url;
    }
    const {protocol, host} = root.location;
    return `${protocol === "https:" ? "wss" : "ws"}://${host}${url || "/"}`;
  }

  return {WebSocketBridge};
});
