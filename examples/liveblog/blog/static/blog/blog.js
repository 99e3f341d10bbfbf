// The page of one blog: it joins the blog's readers over a WebSocket and shows what arrives.
// When the connection is lost it says so, comes back by itself and gets what it missed.

const FIRST_PAUSE = 500; // milliseconds before the first attempt to come back,
const LONGEST_PAUSE = 20_000; // doubled with each one that fails up to this

const list = document.getElementById("updates");
const status = document.getElementById("status");
const readers = document.getElementById("readers");
const form = document.getElementById("post");

const cursors = {}; // what we have of each group: the first line of a message names it

let pause = FIRST_PAUSE;
let timer;

// What the server can tell us; Blog.tell() in models.py sends it.
const on = {
  update: (html) => place(parse(html).firstElementChild),
  removed: (id) => document.getElementById(`update-${id}`)?.remove(),
  readers: (count) => (readers.textContent = count === 1 ? "1 reader" : `${count} readers`),
};

function connect() {
  clearTimeout(timer);
  timer = undefined;
  const reader = (localStorage.reader ??= Math.random().toString(36).slice(2));
  const url = new URL(`stream/?${reader}`, location).href.replace(/^http/, "ws");
  const socket = new WebSocket(url, ["channels.recover.v1", `channels.cursors.${encode(cursors)}`]);
  let current; // settles once the list is as the server has it; what arrives meanwhile waits, in order

  const update = () => (current = refresh().then(live, () => socket.close()));
  socket.onopen = () => {
    if (Object.keys(cursors).length) current = Promise.resolve(live()); // what we missed comes by itself
    else update();
  };
  socket.onmessage = async ({ data }) => {
    const [head, text] = data.split(/\n(.*)/s);
    const [group, cursor, note] = head.split(" ");
    if (group) cursors[group] = cursor;
    if (note === "gap") update(); // too much for the server to keep
    await current;
    for (const [name, value] of Object.entries(JSON.parse(text || "{}"))) on[name]?.(value);
  };
  socket.onclose = async () => {
    if (!current && (await isGone())) return say("gone", "This blog is no longer here.");
    say("lost", "Connection lost. Coming back…");
    // A random part, so that all readers of a server that restarts do not come back in the same instant.
    timer = setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };
}

function live() {
  pause = FIRST_PAUSE;
  say("live", "Live");
}

function encode(value) {
  return btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// A browser does not tell why a handshake was refused; the same address over HTTP does.
async function isGone() {
  const answer = await fetch("updates/", { method: "HEAD" }).catch(() => null);
  return answer?.status === 404;
}

async function refresh() {
  const answer = await fetch("updates/", { cache: "no-store" });
  if (!answer.ok) throw new Error(`No updates: HTTP ${answer.status}`);
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
addEventListener("online", () => timer && connect());
connect();
