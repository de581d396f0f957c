import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { packHalf, unpackHalf } from "../kernels/pack_half.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Vlm } from "../model/vlm.ts";
import { encoderKey, FeatureCache, featureFloats } from "../train/feature_cache.ts";
import { FeatureStore } from "../train/feature_store.ts";
import { goldenVlm } from "./support/golden.ts";
import { gpuTest } from "./support/gpu.ts";

const PIXELS = 3 * 224 * 224;

/** Pictures of noise, a different one for each number. */
function pictures(...seeds: number[]): { pictures: Uint8Array<ArrayBuffer>; pictureCount: number } {
  const bytes = new Uint8Array(seeds.length * PIXELS);
  seeds.forEach((seed, at) => {
    for (let i = 0; i < PIXELS; i++) bytes[at * PIXELS + i] = Math.imul(i + 1, 7919 + seed) >> 7;
  });
  return { pictures: bytes, pictureCount: seeds.length };
}

async function features(cache: FeatureCache, ...seeds: number[]): Promise<Float32Array> {
  using tensor = await cache.features(pictures(...seeds));
  return await tensor!.gpu.read(tensor!);
}

async function encoded(gpu: Gpu, vlm: Vlm, ...seeds: number[]): Promise<Float32Array> {
  const batch = pictures(...seeds);
  using tensor = vlm.encodePictures(batch.pictures, batch.pictureCount);
  return await gpu.read(tensor);
}

/** Counts the pictures that a model encodes from now on. */
function countEncoded(vlm: Vlm): () => number {
  let count = 0;
  const encode = vlm.encodePictures.bind(vlm);
  vlm.encodePictures = (bytes, n) => (count += n, encode(bytes, n));
  return () => count;
}

const warn = (text: string): void => {
  throw new Error(text);
};

gpuTest("a picture's features do not depend on its company", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  const floats = featureFloats(vlm);
  const together = await encoded(gpu, vlm, 1, 2, 3, 4, 5);
  for (const [i, seed] of [1, 2, 3, 4, 5].entries()) {
    assertEquals(
      await encoded(gpu, vlm, seed),
      together.slice(i * floats, (i + 1) * floats),
      `picture ${seed} alone`,
    );
  }
});

for (const half of [false, true]) {
  gpuTest(`a found picture has the bits of a new one, half ${half}`, async (gpu) => {
    using vlm = await goldenVlm(gpu, "dense");
    const exact = await encoded(gpu, vlm, 1, 2, 2, 3);
    const before = gpu.memory.live;
    {
      const count = countEncoded(vlm);
      using cache = new FeatureCache(vlm, { half, memory: 1e9, warn });
      const fresh = await features(cache, 1, 2, 2, 3);
      assertEquals(count(), 3, "a picture that stands twice is encoded once");
      if (half) {
        assert(exact.every((x, i) => Math.abs(x - fresh[i]!) <= Math.abs(x) * 2 ** -10 + 1e-7));
        assert(exact.some((x, i) => x !== fresh[i]));
      } else assertEquals(fresh, exact);
      await cache.flush();
      assertEquals(await features(cache, 1, 2, 2, 3), fresh);
      assertEquals(count(), 3);
      const mixed = await features(cache, 9, 3, 8, 1, 9);
      assertEquals(count(), 5);
      const floats = featureFloats(vlm);
      assertEquals(mixed.slice(floats, 2 * floats), fresh.slice(3 * floats));
      assertEquals(mixed.slice(3 * floats, 4 * floats), fresh.slice(0, floats));
      await cache.flush();
      assertEquals(await features(cache, 9, 3, 8, 1, 9), mixed);
      assertEquals(await cache.features(pictures()), undefined);
    }
    assertEquals(gpu.memory.live, before);
  });
}

gpuTest("memory holds what came first, the folder the rest, and nothing stale", async (gpu) => {
  const folder = await Deno.makeTempDir();
  try {
    using vlm = await goldenVlm(gpu, "dense");
    const key = await encoderKey(vlm, "1");
    const count = countEncoded(vlm);
    const entry = 2 * featureFloats(vlm);
    const open = (options: { folder?: string; memory: number }) =>
      new FeatureCache(vlm, { half: true, warn, ...options });
    {
      using cache = open({ memory: entry });
      await features(cache, 1);
      await features(cache, 2);
      await cache.flush();
      await features(cache, 1, 2);
      assertEquals(count(), 3, "there is room for the first alone");
    }
    using cache = open({ memory: entry, folder: join(folder, key) });
    const fresh = await features(cache, 1, 2);
    await cache.flush();
    using later = open({ memory: 0, folder: join(folder, key) });
    assertEquals(await features(later, 1, 2), fresh);
    assertEquals(count(), 5);

    for await (const { name } of Deno.readDir(join(folder, key))) {
      for await (const file of Deno.readDir(join(folder, key, name))) {
        await Deno.truncate(join(folder, key, name, file.name), 100);
      }
    }
    assertEquals(await features(later, 2), fresh.slice(fresh.length / 2));
    assertEquals(count(), 6, "a file that is cut off is no entry");

    const weights = vlm.visionParameters.get("vision_model.pre_layrnorm.bias");
    gpu.write(weights, new Float32Array(weights.size).fill(0.5));
    const others = [await encoderKey(vlm, "1"), await encoderKey(vlm, "2")];
    assertEquals(new Set([key, ...others]).size, 3);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest("a folder that cannot be written to is said once", async (gpu) => {
  const file = await Deno.makeTempFile();
  try {
    using vlm = await goldenVlm(gpu, "dense");
    const said: string[] = [];
    const warn = (text: string) => void said.push(text);
    using cache = new FeatureCache(vlm, { half: true, memory: 0, folder: file, warn });
    const fresh = await features(cache, 1, 2);
    await cache.flush();
    assertEquals(said.length, 1);
    assertEquals(await features(cache, 1, 2), fresh);
  } finally {
    await Deno.remove(file);
  }
});

gpuTest("half precision packs two numbers to a word", async (gpu) => {
  using _scope = gpu.scope();
  const values = new Float32Array([0, -1, 0.5, 65504, 1 / 3, -(2 ** -14)]);
  const packed = packHalf(gpu.tensor(values, [3, 2]));
  const halves = new Float16Array(await gpu.readBytes(packed));
  halves.forEach((half, i) => assert(Math.abs(half - values[i]!) <= Math.abs(values[i]!) / 1024));
  assertEquals(
    await gpu.read(unpackHalf(packed, [2, 3])),
    Float32Array.from(halves),
  );
  assertThrows(() => unpackHalf(packed, [2, 2]), ShapeError, "3 words");
  assertThrows(() => packHalf(gpu.zeros([3])), ShapeError, "odd");
});

Deno.test("a folder that cannot be written to is told of once, in a sentence", async () => {
  const file = await Deno.makeTempFile();
  try {
    const said: string[] = [];
    const warn = (text: string) => void said.push(text);
    const store = new FeatureStore({ entryBytes: 2, memory: 0, folder: file, warn });
    for (const name of ["aa", "bb"]) await store.put(name, new Uint8Array(2));
    assertEquals(said, [
      `Features of pictures are no longer kept on disk. Cannot write ${file}/aa/aa: ` +
      "a part of its path is not a folder.",
    ]);
  } finally {
    await Deno.remove(file);
  }
});
