/** The page's conversation. */
export const APP_SCRIPT: string = String.raw`
import { answer, ApiFailure, models } from "./api.js";
import { openSettings, settings } from "./dialog.js";
import { examples } from "./examples.js";
import { onFiles, toDataUrl } from "./pictures.js";
import { follow, make, showMine, showTheirs, showThumb } from "./view.js";
import { switchLanguage, t, translate } from "./words.js";

const at = (id) => document.getElementById(id);
const [form, question, send, turns, welcome, shown, model, fresh] = ["ask", "question", "send", "turns", "welcome", "shown", "model", "fresh"].map(at);

/** The conversation: { role, text, pictures }. */
let conversation = [];
/** Pictures that the next question shows, as data URLs. */
let pictures = [];
/** Breaks off the answer that is coming. */
let running;

function update() {
  const empty = conversation.length === 0;
  welcome.hidden = !empty;
  fresh.hidden = empty;
  form.classList.toggle("busy", !!running);
  send.disabled = !running && question.value.trim() === "" && pictures.length === 0;
  send.title = t(running ? "stop" : "send");
  send.ariaLabel = send.title;
  shown.replaceChildren(...pictures.map((url, i) => showThumb(url, () => { pictures.splice(i, 1); update(); question.focus(); })));
}

/** Says something above the question, for a while. */
let noticed;
function notice(message) {
  const place = at("notice");
  place.textContent = message;
  place.hidden = false;
  clearTimeout(noticed);
  noticed = setTimeout(() => place.hidden = true, 8000);
}

async function take(files) {
  for (const file of files) {
    try {
      pictures.push(await toDataUrl(file));
    } catch (error) {
      notice(error.message);
    }
  }
  update();
  question.focus();
}

/** The conversation in the interface's form. */
function messages(system) {
  const said = conversation.filter(({ text, pictures }) => text || pictures.length > 0);
  const turns = said.map(({ role, text, pictures }) => ({
    role,
    content: pictures.length === 0 ? text : [
      ...pictures.map((url) => ({ type: "image_url", image_url: { url } })),
      ...(text ? [{ type: "text", text }] : [])
    ]
  }));
  return system.trim() ? [{ role: "system", content: system }, ...turns] : turns;
}

/** What is said below an answer. */
function about(start, first, usage, finish) {
  const parts = [];
  const count = usage?.completion_tokens;
  if (count) parts.push(count + " " + t("tokens"));
  const seconds = (performance.now() - first) / 1000;
  if (count > 1 && seconds > 0) parts.push(((count - 1) / seconds).toFixed(1) + " " + t("perSecond"));
  if (first) parts.push(t("first") + " " + ((first - start) / 1000).toFixed(2) + " s");
  if (finish === "length") parts.push(t("length"));
  if (finish === "stopped") parts.push(t("stopped"));
  return parts.join(" · ");
}

/** Lets the model answer what stands. */
async function respond() {
  const view = showTheirs();
  const { system, request } = settings();
  const stop = new AbortController();
  running = stop;
  turns.append(view.turn);
  update();
  at("scroll").scrollTop = at("scroll").scrollHeight;
  const start = performance.now();
  let text = "", first = 0, finish, usage;
  try {
    for await (const piece of answer({ ...request, model: model.value, messages: messages(system) }, stop.signal)) {
      if (piece.text && !first) first = performance.now();
      text += piece.text;
      finish = piece.finish ?? finish;
      usage = piece.usage ?? usage;
      if (piece.text) follow(() => view.add(piece.text));
    }
  } catch (error) {
    if (error.name === "AbortError") finish = "stopped";
    else {
      follow(() => view.fail(error.message));
      if (error instanceof ApiFailure && error.status === 401) openSettings("key");
      if (!(error instanceof ApiFailure)) console.error(error);
    }
  }
  if (running === stop) running = undefined;
  if (!view.turn.isConnected) return;
  const turn = { role: "assistant", text, pictures: [] };
  conversation.push(turn);
  follow(() => view.end(about(start, first, usage, finish), () => again(turn, view.turn)));
  update();
}

/** Answers anew; what was said since is forgotten. */
function again(turn, element) {
  const place = conversation.indexOf(turn);
  if (place < 0) return;
  running?.abort();
  conversation.splice(place);
  while (element.nextSibling) element.nextSibling.remove();
  element.remove();
  respond();
}

function ask(text, shownPictures) {
  if (running || (text === "" && shownPictures.length === 0)) return;
  at("notice").hidden = true;
  const turn = { role: "user", text, pictures: shownPictures };
  conversation.push(turn);
  turns.append(showMine(turn));
  respond();
}

function clear() {
  running?.abort();
  running = undefined;
  conversation = [];
  turns.replaceChildren();
  update();
  question.focus();
}

form.onsubmit = (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const text = question.value.trim();
  const asked = pictures;
  question.value = "";
  pictures = [];
  ask(text, asked);
};
question.oninput = update;
question.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) form.requestSubmit();
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !isTyping && !document.querySelector("dialog[open]")) { event.preventDefault(); question.focus(); }
});
fresh.onclick = clear;
at("language").onclick = () => { switchLanguage(); update(); };
at("theme").onclick = () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("glimpse.theme", root.dataset.theme);
};
const theme = localStorage.getItem("glimpse.theme");
if (theme) document.documentElement.dataset.theme = theme;
at("settings").addEventListener("close", () => { if (model.options.length === 0) start(); });
onFiles(take);
at("examples").append(...examples().map(({ key, url }) =>
  make("button", { type: "button", className: "example", onclick: () => ask(t(key), [url]) }, make("img", { src: url, alt: "" }), make("span", { "data-t": key }))
));
translate();
update();
question.focus();

async function start() {
  try {
    const found = await models();
    const last = localStorage.getItem("glimpse.model");
    model.replaceChildren(...found.map(({ id }) => make("option", { value: id, selected: id === last }, id)));
    model.onchange = () => localStorage.setItem("glimpse.model", model.value);
  } catch (error) {
    if (error.status === 401) openSettings("key");
    notice(error.message);
  }
}
start();
`;
