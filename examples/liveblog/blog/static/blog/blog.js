// The page of one blog: it joins the blog's readers over a WebSocket and shows what arrives.
// When the connection is lost it says so; the browser client comes back by itself and gets what was missed.

import { Connection } from "../channels/js/client/connection.js";

const list = document.getElementById("updates");
const status = document.getElementById("status");
const readers = document.getElementById("readers");
const form = document.getElementById("post");

// What the server can tell us; Blog.tell() in models.py sends it.
const on = {
  update: (html) => place(parse(html).firstElementChild),
  removed: (id) => document.getElementById(`update-${id}`)?.remove(),
  readers: (count) => (readers.textContent = count === 1 ? "1 reader" : `${count} readers`),
};

const reader = (localStorage.reader ??= Math.random().toString(36).slice(2));
const connection = new Connection(`stream/?${reader}`);
let current; // settles once the list is as the server has it; what arrives meanwhile waits, in order

connection.addEventListener("open", async () => {
  if (!connection.cursors.size) current = refresh(); // afterwards what we missed comes by itself,
  await current;
  if (connection.state === "open") say("live", "Live");
});
connection.addEventListener("gap", () => (current = refresh())); // unless it was too much for the server to keep
connection.addEventListener("message", async ({ data }) => {
  await current;
  for (const [name, value] of Object.entries(data)) on[name]?.(value);
});
connection.addEventListener("close", async ({ wasOpen, delay }) => {
  if (delay === null) return; // closed by us
  say("lost", "Connection lost. Coming back…");
  if (wasOpen || !(await isGone())) return;
  connection.close();
  say("gone", "This blog is no longer here.");
});

// A browser does not tell why a handshake was refused; the same address over HTTP does.
async function isGone() {
  const answer = await fetch("updates/", { method: "HEAD" }).catch(() => null);
  return answer?.status === 404;
}

async function refresh() {
  const answer = await fetch("updates/", { cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return new Promise((resolve) => setTimeout(resolve, 1000)).then(refresh);
  const now = parse(await answer.text());
  for (const shown of [...list.children]) if (!now.getElementById(shown.id)) shown.remove();
  for (const update of [...now.children].reverse()) place(update);
}

// The server escaped the content, with the same template that made the page.
function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  template.content.querySelectorAll("time").forEach(localise);
  return template.content;
}

function place(update) {
  const shown = document.getElementById(update.id);
  if (!shown) {
    update.classList.add("new");
    list.prepend(update);
  } else if (shown.innerHTML !== update.innerHTML) {
    shown.replaceWith(update);
  }
}

function say(state, text) {
  status.dataset.state = state;
  status.textContent = text;
  readers.hidden = state !== "live";
}

function localise(time) {
  const date = new Date(time.dateTime);
  const today = date.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  time.textContent = date.toLocaleString([], today ? clock : { day: "numeric", month: "short", ...clock });
}

// Staff post without leaving the page: the update comes back over the socket, as it does to everyone.
form?.addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" }).catch(() => null);
  const posted = answer?.type === "opaqueredirect";
  document.getElementById("post-error").textContent = posted ? "" : "Not posted. Please try again.";
  if (posted) form.reset();
  button.disabled = false;
});

list.querySelectorAll("time").forEach(localise);
