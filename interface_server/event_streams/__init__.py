"""Server-sent events: for clients without WebSockets. A stream is served as a WebSocket, by the same consumers."""
