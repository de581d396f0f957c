import type { ChatModel } from "./chat_model.ts";
import type { Image } from "./resample.ts";

/**
 * A picture as a vector of length 1: the mean of what the vision tower sees in its patches. The product of
 * two such vectors tells how alike two pictures are, 1 for the same.
 *
 * @returns [vision width]
 */
export async function embedPicture(
  { vlm, processor }: Pick<ChatModel, "vlm" | "processor">,
  picture: Image,
): Promise<Float32Array<ArrayBuffer>> {
  const { gpu } = vlm;
  const pixels = new Uint8Array(processor.process(picture));
  using patches = gpu.detached(() => vlm.encodePictures(pixels, 1));
  const values = await gpu.read(patches);
  const vector = new Float32Array(patches.width);
  for (let i = 0; i < values.length; i++) vector[i % vector.length]! += values[i]!;
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}
