/** The page's settings. */
export const DIALOG_SCRIPT: string = String.raw`
import { make } from "./view.js";
import { t } from "./words.js";

/** name in the interface, key of its words, kind, default; a number has its range as well */
const CONTROLS = [
  ["temperature", "temperature", "range", 0.65, 0, 1.5, 0.05],
  ["top_p", "topP", "range", 0.85, 0.05, 1, 0.05],
  ["top_k", "topK", "range", 50, 0, 200, 1],
  ["max_tokens", "maxTokens", "range", 512, 16, 2048, 16],
  ["presence_penalty", "presence", "range", 0, 0, 2, 0.1, "penaltyMore"],
  ["frequency_penalty", "frequency", "range", 0, 0, 2, 0.1, "penaltyMore"],
  ["seed", "seed", "number", ""],
  ["system", "system", "text", ""],
  ["key", "key", "password", ""]
];

const STORE = "glimpse.settings";
const values = { ...Object.fromEntries(CONTROLS.map(([name, , , value]) => [name, value])), ...load() };

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    return Object.fromEntries(CONTROLS.filter(([name, , , value]) => typeof stored[name] === typeof value).map(([name]) => [name, stored[name]]));
  } catch {
    return {};
  }
}

function store() {
  const { key, ...rest } = values;
  localStorage.setItem(STORE, JSON.stringify(rest));
}

function control([name, word, kind, , least, most, step, more]) {
  const id = "set-" + name;
  const label = make("label", { htmlFor: id }, t(word));
  const note = make("small", {}, t(more ?? word + "More"));
  const change = (value) => { values[name] = value; name === "key" ? sessionStorage.setItem("glimpse.key", value) : store(); };
  if (kind === "range") {
    const shown = make("output", { htmlFor: id }, String(values[name]));
    const input = make("input", { id, type: "range", min: least, max: most, step });
    input.value = values[name];
    input.oninput = () => { change(Number(input.value)); shown.textContent = input.value; };
    return make("div", { className: "control" }, label, shown, input, note);
  }
  const input = kind === "text" ? make("textarea", { id }) : make("input", { id, type: kind, className: kind === "number" ? "short" : "wide" });
  if (kind === "number") Object.assign(input, { min: 0, step: 1, placeholder: t("random") });
  if (kind === "password") input.autocomplete = "off";
  input.value = name === "key" ? sessionStorage.getItem("glimpse.key") ?? "" : values[name];
  input.oninput = () => change(input.value);
  return make("div", { className: "control" }, label, ...(kind === "number" ? [input, note] : [make("span"), input, note]));
}

function fill() {
  document.getElementById("controls").replaceChildren(...CONTROLS.map(control));
}

/** Opens the settings, at one of them if it is named. */
export function openSettings(name) {
  fill();
  document.getElementById("settings").showModal();
  document.getElementById("set-" + (name ?? "temperature"))?.focus();
}

/** What the settings add to a request, and the system prompt. */
export function settings() {
  const { key: _, seed, system, ...rest } = values;
  return { system, request: { ...rest, ...(seed !== "" && Number.isSafeInteger(Number(seed)) && { seed: Number(seed) }) } };
}

const dialog = document.getElementById("settings");
document.getElementById("adjust").onclick = () => openSettings();
document.getElementById("reset").onclick = () => {
  for (const [name, , , value] of CONTROLS) if (name !== "key") values[name] = value;
  store();
  fill();
};
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
`;
