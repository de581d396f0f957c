/** How pictures come into the page: chosen, dropped, pasted. */
export const PICTURES_SCRIPT: string = String.raw`
import { t } from "./words.js";

/** Files larger than this are made smaller before they are sent; the model sees a few hundred pixels of them. */
const LARGE = 4e6;
const EDGE = 1600;

/** A picture's file as a data URL. Throws a sentence when it is none. */
export async function toDataUrl(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(t("badPicture") + file.name);
  }
  try {
    const sendable = /^image\/(png|jpeg|webp|gif|bmp|avif|tiff)$/.test(file.type);
    if (file.size <= LARGE && sendable) return await read(file);
    const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await read(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 }));
  } finally {
    bitmap.close();
  }
}

function read(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Calls back with the files that are dropped anywhere, pasted, or chosen. */
export function onFiles(take) {
  const drop = document.getElementById("drop");
  const files = document.getElementById("files");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const show = (by) => { depth = Math.max(0, depth + by); drop.hidden = depth === 0; };
  addEventListener("dragenter", (event) => { if (hasFiles(event)) show(1); });
  addEventListener("dragleave", (event) => { if (hasFiles(event)) show(-1); });
  addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    show(0);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData?.files ?? []];
    if (pasted.length === 0) return;
    event.preventDefault();
    take(pasted);
  });
  document.getElementById("attach").onclick = () => files.click();
  files.onchange = () => { take([...files.files]); files.value = ""; };
}
`;
