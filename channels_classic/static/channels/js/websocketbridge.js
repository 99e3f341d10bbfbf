/*
 * The browser's side of Channels: a WebSocket that reconnects, with JSON messages that may be divided into streams.
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
 * There is no send buffer: a message sent while the socket is not open is lost, or raises, as with any WebSocket.
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
  const METHODS = ["send", "close", "addEventListener", "removeEventListener", "dispatchEvent"];

  const PROPERTIES = ["readyState", "bufferedAmount", "extensions", "protocol", "url", "binaryType"];

  const RECOVER = "channels.recover.v1";
  const CURSORS = "channels.cursors.";

  /* Most characters of the cursors in a handshake. Proxies refuse a header of more than 4 or 8 KB. */
  const MOST_CURSORS = 3000;

  /* Times are in milliseconds. */
  const DEFAULTS = {
    minReconnectionDelay: 1500,
    maxReconnectionDelay: 10000,
    reconnectionDelayGrowFactor: 1.3,
    connectionTimeout: 4000,
    maxRetries: Infinity,
    debug: false,
  };

  /* Codes with which a server closes a socket that should come again later, perhaps with "retry=SECONDS" as the reason. */
  const COME_AGAIN = [1012, 1013];
  const RETRY = /(?:^|[;, ])retry=(\d{1,5}(?:\.\d{1,3})?)(?=$|[;, ])/;

  /*
   * A WebSocket that reconnects after every close, whoever closed it, unless it was closed with `keepClosed`.
   * Listeners and handlers are kept. Everything else is that of the current socket.
   *
   * `url` may be a function, which is called before each connection. The first delay before a connection is random,
   * between `minReconnectionDelay` and twice that. Delays grow up to `maxReconnectionDelay` until a connection is open.
   */
  class ReconnectingWebSocket {
    constructor(url, protocols, options) {
      this._options = Object.assign({}, DEFAULTS, {constructor: root.WebSocket}, options);
      if (typeof this._options.constructor !== "function") {
        throw new TypeError("No WebSocket is available: set the option `constructor`.");
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
        ["close", (event) => this._closed(event)],
      ];
      METHODS.forEach((name) => { this[name] = this[name].bind(this); });
      this._connect();
      this._forwardProperties();
    }

    send(data) {
      this._socket.send(data);
    }

    /*
     * Close this connection and, unless `keepClosed` is set, reconnect, after `delay` if it is given. Listeners are
     * called at once, or, without `fastClose`, when the server has confirmed. A socket that is already closed reconnects
     * if no reconnection is pending, so that `close()` ends the effect of `keepClosed`.
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
        if (this._reconnection === undefined) {
          this._reconnect();
        }
        return;
      }
      socket.close(code, reason);
      if (fastClose) {
        socket.dispatchEvent(new CloseEvent("close", {code, reason, wasClean: true}));
        this._detach(socket); // or listeners would be called again when the server confirms
      }
    }

    addEventListener(type, listener, options) {
      const {once = false, signal = null} = Object(options);
      if (!listener || this._find(type, listener) || (signal && signal.aborted)) {
        return;
      }
      const entry = {type, listener, called: listener};
      const remove = () => this._remove(entry);
      if (once) {
        entry.called = (event) => {
          remove();
          call(listener, event);
        };
      }
      if (signal) {
        signal.addEventListener("abort", remove, {once: true});
      }
      this._listeners.push(entry);
      if (this._detached !== this._socket) {
        this._socket.addEventListener(type, entry.called);
      }
    }

    removeEventListener(type, listener) {
      this._remove(this._find(type, listener));
    }

    _find(type, listener) {
      return this._listeners.find((entry) => entry.type === type && entry.listener === listener);
    }

    _remove(entry) {
      if (this._listeners.includes(entry)) {
        this._listeners.splice(this._listeners.indexOf(entry), 1);
        this._socket.removeEventListener(entry.type, entry.called);
      }
    }

    dispatchEvent(event) {
      return this._socket.dispatchEvent(event);
    }

    _connect() {
      const {constructor: Socket, connectionTimeout} = this._options;
      const url = typeof this._url === "function" ? this._url() : this._url;
      const before = this._socket;
      this._reconnection = undefined;
      this._log("connect", url);
      const socket = new Socket(url, typeof this._protocols === "function" ? this._protocols() : this._protocols);
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

    /* Forward the properties of a WebSocket, and those that a constructor of the page adds, to the current socket. */
    _forwardProperties() {
      const names = new Set(PROPERTIES);
      for (const name in this._socket) {
        names.add(name);
      }
      [...names].filter((name) => !(name in this)).forEach((name) => Object.defineProperty(this, name, {
        get: () => this._socket[name],
        set: (value) => { this._socket[name] = value; },
        enumerable: true,
        configurable: true,
      }));
    }

    _opened() {
      this._log("open");
      clearTimeout(this._timeout);
      this._retries = 0;
      this._delay = 0;
    }

    _closed(event) {
      this._log("close");
      this._ended = this._socket;
      this._nextDelay = this._nextDelay || askedDelay(event);
      clearTimeout(this._timeout);
      this._reconnect();
    }

    _reconnect() {
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

    /*
     * Call the error listeners with an `Error` that has a `code`. Each has a timer of its own: they are called after
     * the listeners of the event that is being dispatched, and one that throws does not stop the others.
     */
    _fail(code, message) {
      this._log(code);
      const error = Object.assign(new Error(message), {code});
      const listeners = this._listeners.filter(({type}) => type === "error").map(({called}) => called);
      [...listeners, (event) => this.onerror && this.onerror(event)].forEach((listener) => {
        setTimeout(() => call(listener, error));
      });
    }

    _attach(socket) {
      this._watch.forEach(([type, listener]) => socket.addEventListener(type, listener));
      EVENTS.forEach((type) => { socket[`on${type}`] = this._handlers[type] || null; });
      this._listeners.forEach(({type, called}) => socket.addEventListener(type, called));
    }

    _detach(socket) {
      this._detached = socket;
      this._watch.forEach(([type, listener]) => socket.removeEventListener(type, listener));
      this._listeners.forEach(({type, called}) => socket.removeEventListener(type, called));
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

  /* A function and not a class, because subclasses in ES5 and transpiled ones call it without `new`. */
  function WebSocketBridge(options) {
    if (!(this instanceof WebSocketBridge)) {
      throw new TypeError("A WebSocketBridge is created with `new`.");
    }
    this.socket = null;
    this.streams = {};
    this.default_cb = null;
    this.options = Object.assign({}, options);
    if (this.options.recover) {
      this.cursors = new Map(); // the cursor of each group, the latest last
    }
  }

  Object.assign(WebSocketBridge.prototype, {
    /*
     * Open the socket. `url` is a path on the host of the page (its root, if omitted), a complete URL, or a function
     * that returns one of them. `options` are those of the reconnecting socket, above. A bridge that recovers speaks a
     * sub-protocol of its own.
     */
    connect(url, protocols, options) {
      const target = typeof url === "function" ? () => absolute(url()) : absolute(url);
      if (this.options.recover && protocols !== undefined && protocols !== null) {
        throw new TypeError("A bridge that recovers speaks a sub-protocol of its own: connect it without protocols.");
      }
      const offered = this.options.recover ? () => [RECOVER, CURSORS + encoded(this.cursors)] : protocols;
      this.socket = new ReconnectingWebSocket(target, offered, options);
    },

    /* Call `cb(message, null)` for each message without a stream. Without `cb`, only streams receive messages. */
    listen(cb) {
      if (this.socket === null) {
        throw new TypeError("There is no socket to listen to: call connect() first.");
      }
      this.default_cb = cb;
      this.socket.onmessage = (event) => {
        const text = this.options.recover ? recovered(this, event.data) : event.data;
        if (text !== null) {
          dispatch(this, JSON.parse(text));
        }
      };
    },

    /* Call `cb(payload, stream)` for each message of a stream, or no callback if `cb` is `null`. */
    demultiplex(stream, cb) {
      this.streams[stream] = cb;
    },

    send(message) {
      this.socket.send(JSON.stringify(message));
    },

    /* Return an object whose `send(payload)` sends on a stream. */
    stream(stream) {
      return {send: (payload) => this.socket.send(JSON.stringify({stream, payload}))};
    },
  });

  /*
   * Return the message in a frame, and remember its cursor; null for a frame that only tells one. The first line is
   * empty, or holds the group and the cursor, and `gap` if messages before it are gone. A server that does not know the
   * sub-protocol sends messages without that line.
   */
  function recovered(bridge, data) {
    if (bridge.socket.protocol !== RECOVER) {
      return data;
    }
    const end = data.indexOf("\n");
    const [group, cursor, note] = data.slice(0, end).split(" ");
    if (group) {
      bridge.cursors.delete(group); // so that the latest is the last
      bridge.cursors.set(group, cursor);
    }
    if (note === "gap" && bridge.options.onGap) {
      bridge.options.onGap(group);
    }
    return note ? null : data.slice(end + 1);
  }

  /* The cursors in base64url, without the oldest if they would be too long. Names of groups and cursors are ASCII. */
  function encoded(cursors) {
    const text = root.btoa(JSON.stringify(Object.fromEntries(cursors)));
    if (text.length <= MOST_CURSORS) {
      return text.replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
    }
    cursors.delete(cursors.keys().next().value);
    return encoded(cursors);
  }

  function dispatch(bridge, message) {
    if (message === null || message.stream === undefined) {
      if (bridge.default_cb) {
        bridge.default_cb(message, null);
      }
      return;
    }
    const cb = bridge.streams[message.stream];
    if (cb && cb !== Object.prototype[message.stream]) {
      cb(message.payload, message.stream);
    }
  }

  /* The delay that the server asks for, and up to half of that more: others were closed at the same time. */
  function askedDelay({code, reason}) {
    const found = COME_AGAIN.includes(code) && RETRY.exec(reason);
    return found ? Number(found[1]) * 1000 * (1 + Math.random() / 2) : 0;
  }

  function absolute(url) {
    if (url !== undefined && url !== null && url[0] !== "/") {
      return url;
    }
    const {protocol, host} = root.location;
    return `${protocol === "https:" ? "wss" : "ws"}://${host}${url || "/"}`;
  }

  function call(listener, event) {
    if (typeof listener === "function") {
      listener.call(event.currentTarget, event);
    } else {
      listener.handleEvent(event);
    }
  }

  return {WebSocketBridge};
});
