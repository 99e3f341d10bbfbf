// An echo at /echo and a room at /room on Node's `ws`. Usage: node node_ws.js PORT

"use strict";

const { WebSocket, WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 2048 });
const room = new Set();

server.on("connection", (socket, request) => {
  const receivers = request.url === "/room" ? room.add(socket) : [socket];
  socket.on("close", () => room.delete(socket));
  socket.on("message", (data, isBinary) => {
    for (const receiver of receivers) {
      if (receiver.readyState === WebSocket.OPEN) receiver.send(data, { binary: isBinary });
    }
  });
});
server.on("listening", () => console.log("Node serves"));
