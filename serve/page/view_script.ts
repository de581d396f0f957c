/** How the page shows a conversation. Text is only ever set as text. */
export const VIEW_SCRIPT: string = String.raw`
import { t } from "./words.js";

const ICONS = {
  again: "M20 11A8 8 0 1 0 18 17M20 4v7h-7",
  copy: "M9 9h10v11H9zM5 15V4h10",
  done: "m5 12.5 4.5 4.5L19 7",
  remove: "m6 6 12 12M18 6 6 18"
};

/** An element with attributes and children; texts become text nodes. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** One of the signs on buttons. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export function button(key, name, onclick, ...children) {
  return make("button", { type: "button", className: "quiet", title: t(key), ariaLabel: t(key), onclick }, icon(name), ...children);
}

/** A picture that grows when it is touched. */
function picture(url) {
  return make("button", { type: "button", title: t("look"), ariaLabel: t("look"), onclick: () => enlarge(url) }, make("img", { src: url, alt: "" }));
}

function enlarge(url) {
  const large = document.getElementById("large");
  large.querySelector("img").src = url;
  large.onclick = () => large.close();
  large.showModal();
}

/** The turn of a person. */
export function showMine({ text, pictures }) {
  const turn = make("article", { className: "turn mine" });
  if (pictures.length > 0) turn.append(make("div", { className: pictures.length > 1 ? "seen many" : "seen" }, ...pictures.map(picture)));
  if (text) turn.append(make("div", { className: "text" }, text));
  return turn;
}

/** The turn of the model; more is added while it comes. */
export function showTheirs() {
  const text = make("div", { className: "text" });
  const turn = make("article", { className: "turn theirs running", ariaLabel: t("answer") }, text);
  return {
    turn,
    add: (piece) => text.append(piece),
    end(about, onAgain) {
      turn.classList.remove("running");
      const copy = button("copy", "copy", async () => {
        await navigator.clipboard.writeText(text.textContent);
        copy.replaceChildren(icon("done"));
        copy.title = t("copied");
        setTimeout(() => { copy.replaceChildren(icon("copy")); copy.title = t("copy"); }, 1500);
      });
      const again = button("again", "again", onAgain);
      again.classList.add("again");
      turn.append(make("div", { className: "about" }, ...(text.textContent ? [copy] : []), again, make("span", {}, about)));
    },
    fail(message) {
      if (!text.textContent) text.remove();
      turn.append(make("div", { className: "failed", role: "alert" }, message));
    }
  };
}

/** A small picture in the question, which can be removed. */
export function showThumb(url, onRemove) {
  const remove = make("button", { type: "button", title: t("remove"), ariaLabel: t("remove"), onclick: onRemove }, icon("remove"));
  return make("div", { className: "thumb" }, make("img", { src: url, alt: "" }), remove);
}

/** Keeps the end in sight as long as it is. */
export function follow(change) {
  const scroll = document.getElementById("scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  change();
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}
`;
