/** Pictures as PNG files. */

/**
 * Encodes a picture as the image processor leaves it.
 *
 * @param picture Bytes [3, size, size].
 */
export async function encodePng(
  picture: Uint8Array,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const plane = size * size;
  const rgb = new Uint8Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let color = 0; color < 3; color++) rgb[3 * i + color] = picture[color * plane + i]!;
  }
  const { default: sharp } = await import("sharp");
  const raw = { width: size, height: size, channels: 3 } as const;
  return new Uint8Array(await sharp(rgb, { raw }).png().toBuffer());
}
