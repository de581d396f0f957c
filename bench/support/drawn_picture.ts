import type { Picture } from "../../serve/picture_store.ts";

/** A picture of `size` × `size` pixels, another for each number. */
export function drawnPicture(number: number, size: number): Picture {
  const pixels = Uint8Array.from(
    { length: 3 * size ** 2 },
    (_, i) => i * (2 * number + 3) % 65521 % 256,
  );
  return { key: `${number}`, pixels };
}
