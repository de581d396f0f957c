import { assertEquals, assertThrows } from "@std/assert";
import { clipEmbeddings, normalizePixels, patchify } from "../kernels/patches.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

const MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
const STD = [0.26862954, 0.26130258, 0.27577711] as const;

gpuTest("normalizePixels takes every byte to its number", async (gpu) => {
  using _scope = gpu.scope();
  const bytes = Uint8Array.from({ length: 2 * 3 * 16 * 8 }, (_, i) => i * 7 % 256);
  const words = gpu.tensor(new Uint32Array(bytes.buffer), [bytes.length / 4]);
  const y = await gpu.read(normalizePixels(words, [2, 3, 16, 8], MEAN, STD));
  const expected = Float64Array.from(bytes, (byte, i) => {
    const color = Math.floor(i / 128) % 3;
    return (byte / 255 - MEAN[color]!) / STD[color]!;
  });
  assertClose(y, expected, 1e-6, "pixels");
  assertThrows(() => normalizePixels(words, [1, 3, 16, 8], MEAN, STD), ShapeError, "[1,3,16,8]");
});

for (const [count = 0, side = 0, patch = 0] of [[1, 1, 1], [3, 6, 3], [2, 32, 16], [1, 28, 14]]) {
  gpuTest(`patchify cuts ${count} pictures of ${side} into patches of ${patch}`, async (gpu) => {
    using _scope = gpu.scope();
    const grid = side / patch, expected: number[] = [];
    for (let picture = 0; picture < count; picture++) {
      for (let place = 0; place < grid * grid; place++) {
        const top = Math.floor(place / grid) * patch, left = place % grid * patch;
        for (let color = 0; color < 3; color++) {
          for (let k = 0; k < patch * patch; k++) {
            const line = (picture * 3 + color) * side + top + Math.floor(k / patch);
            expected.push(line * side + left + k % patch);
          }
        }
      }
    }
    const shape = [count, 3, side, side];
    const x = gpu.tensor(Float32Array.from({ length: expected.length }, (_, i) => i), shape);
    const y = patchify(x, patch);
    assertEquals(y.shape, [count * grid * grid, 3 * patch * patch]);
    assertEquals([...await gpu.read(y)], expected);
  });
}

gpuTest("patchify refuses what it cannot cut", (gpu) => {
  using _scope = gpu.scope();
  assertThrows(() => patchify(gpu.zeros([1, 3, 6, 6]), 4), ShapeError, "[1,3,6,6]");
  assertThrows(() => patchify(gpu.zeros([1, 3, 4, 8]), 4), ShapeError, "[1,3,4,8]");
  return Promise.resolve();
});

for (
  const [count = 0, patches = 0, width = 0] of [[1, 1, 1], [3, 4, 17], [2, 16, 64], [65, 9, 3]]
) {
  gpuTest(
    `clipEmbeddings equals its float64 reference for ${count} × ${patches} patches of ${width}`,
    (gpu) =>
      checkOperation(gpu, {
        name: `clipEmbeddings ${count}x${patches}x${width}`,
        op: (x, token, positions) => clipEmbeddings(x!, token!, positions!),
        reference: (x, token, positions) =>
          Float64Array.from({ length: count * (1 + patches) * width }, (_, i) => {
            const at = i % positions!.length, picture = Math.floor(i / positions!.length);
            return positions![at]! + (at < width ? token![at]! : x![i - (picture + 1) * width]!);
          }),
        shapes: [[count * patches, width], [width], [1 + patches, width]],
      }),
  );
}

gpuTest("clipEmbeddings refuses what does not fit", (gpu) => {
  using _scope = gpu.scope();
  const [token, positions] = [gpu.zeros([4]), gpu.zeros([5, 4])];
  assertThrows(() => clipEmbeddings(gpu.zeros([6, 4]), token, positions), ShapeError, "[6,4]");
  return Promise.resolve();
});
