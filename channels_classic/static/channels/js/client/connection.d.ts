/** Options of a connection. Times are in milliseconds. */
export interface ConnectionOptions {
  /** Whether messages are JSON, both ways. Otherwise text is sent and received as it is. Default: true. */
  json?: boolean;
  /** The sub-protocols of the page. With them the connection does not recover. Default: null. */
  protocols?: string | string[] | null;
  /**
   * Whether an event stream takes the place of a socket that cannot be opened. The server has to serve them.
   * Default: false.
   */
  eventStreams?: boolean;
  /** The most messages that wait for the connection. Default: 100. */
  queue?: number;
  /** The time after which an attempt that is not open is given up. Default: 10,000. */
  timeout?: number;
  /** The most by which the first attempt after a loss is delayed. It doubles with each failure. Default: 2,000. */
  firstDelay?: number;
  /** The longest delay of an attempt. Default: 30,000. */
  longestDelay?: number;
}

export type State = "connecting" | "open" | "waiting" | "closed";

/** The address of a consumer: a path on the host of the page, or a complete URL. In Node it has to be complete. */
export type Address = string | URL;

export interface Received {
  /** The message: parsed, unless it is binary or the connection speaks no JSON. */
  readonly data: any;
  /** The recoverable group that the message was sent to. For other messages it is empty or missing. */
  readonly group?: string;
}

export interface Gap {
  /** The group of which messages are gone: load the state anew. */
  readonly group: string;
}

export interface Closed {
  /** 1006 if there was no close frame. */
  readonly code: number;
  readonly reason: string;
  /** Whether the attempt that ended was open. */
  readonly wasOpen: boolean;
  /** The milliseconds until the next attempt; null after `close()`. */
  readonly delay: number | null;
}

export interface Failed {
  readonly error: unknown;
}

export type Listener<Kind extends Event> = ((event: Kind) => void) | { handleEvent(event: Kind): void } | null;

export interface ConnectionEvents {
  open: Event;
  message: Event & Received;
  gap: Event & Gap;
  close: Event & Closed;
  error: Event & Failed;
}

/** A connection to consumers that comes back by itself, and then gets what it missed of recoverable groups. */
export class Connection extends EventTarget {
  /** `url` may be a function, which is called before each attempt. */
  constructor(url: Address | (() => Address | Promise<Address>), options?: ConnectionOptions);

  readonly state: State;
  /** The cursor of each recoverable group, the latest last. */
  readonly cursors: Map<string, string>;

  /** Connect now, without the rest of the delay, and after `close()` again. */
  connect(): void;
  /** Close for good. What waits to be sent is dropped. */
  close(code?: number, reason?: string): void;
  /** Send a message, or keep it until the connection is open. Throws if it is closed, or too many wait. */
  send(message: unknown): void;
  /** Return the stream of this name: messages of the form {stream, payload}. */
  stream(name: string): Stream;

  addEventListener<Type extends keyof ConnectionEvents>(
    type: Type,
    listener: Listener<ConnectionEvents[Type]>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Type extends keyof ConnectionEvents>(
    type: Type,
    listener: Listener<ConnectionEvents[Type]>,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** One stream of a connection, as `connection.stream(name)` returns it. */
export interface Stream extends EventTarget {
  readonly name: string;
  send(payload: unknown): void;
  addEventListener(
    type: "message",
    listener: Listener<Event & Received>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener(
    type: "message",
    listener: Listener<Event & Received>,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** Who is there, as the payloads of a stream tell it. A `change` event follows each of them. */
export class Presence<Info = any> extends EventTarget {
  constructor(stream: Stream);
  /** From each `who` to the `info` of their sockets. */
  readonly people: ReadonlyMap<string, Info[]>;
}
