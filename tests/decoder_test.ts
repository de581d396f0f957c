import { assert, assertEquals } from "@std/assert";
import { Decoder } from "../model/decoder.ts";
import { Random } from "../model/random.ts";
import { goldenBatch, goldenValues, goldenVlm } from "./support/golden.ts";
import { gpuTest } from "./support/gpu.ts";

const GREEDY = { temperature: 0, stopIds: [], random: new Random(1) };

for (const name of ["dense", "moe", "yarn"] as const) {
  gpuTest(
    `${name}: greedy generation is the original's, also after a part was read before`,
    async (gpu) => {
      const before = gpu.memory.live;
      {
        using vlm = await goldenVlm(gpu, name);
        using _scope = gpu.scope();
        const expected = await goldenValues(name);
        const batch = goldenBatch(expected);
        const pixels = gpu.tensor(expected.get("pixel_values")!.slice(0, 3 * 224 * 224), [
          1,
          3,
          224,
          224,
        ]);
        const features = vlm.dropClassTokens(vlm.vision.forward(pixels));
        const prompt = {
          ids: batch.ids.slice(0, 210),
          imageRows: batch.imageRows.filter((row) => row < 210),
          pictureCount: 1,
        };
        assertEquals(prompt.imageRows.length, 196);
        const greedy = Array.from(expected.get("greedy")!);
        using decoder = new Decoder(vlm, 300);
        decoder.read(prompt, features);
        const options = { ...GREEDY, maxNewTokens: greedy.length };
        assertEquals(await Array.fromAsync(decoder.generate(options)), greedy);
        assertEquals(decoder.length, 210 + greedy.length);

        using again = new Decoder(vlm, 300);
        again.read({ ...prompt, ids: prompt.ids.slice(0, 205) }, features);
        again.read(prompt, features);
        assertEquals(await Array.fromAsync(again.generate(options)), greedy);
        const last = { ...options, stopIds: [greedy[4]!] };
        decoder.read(prompt, features);
        const stopped = await Array.fromAsync(decoder.generate(last));
        assertEquals(stopped, greedy.slice(0, greedy.indexOf(greedy[4]!) + 1));
      }
      assertEquals(gpu.memory.live, before, "bytes left in use");
    },
  );
}

gpuTest("generation by chance follows the seed and ends where the cache does", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using decoder = new Decoder(vlm, 24);
  const prompt = {
    ids: Uint32Array.of(1, 320, 275),
    imageRows: new Uint32Array(),
    pictureCount: 0,
  };
  const say = async (seed: number) => {
    decoder.read(prompt);
    const options = {
      temperature: 1,
      topK: 50,
      maxNewTokens: 100,
      stopIds: [],
      random: new Random(seed),
    };
    return await Array.fromAsync(decoder.generate(options));
  };
  const first = await say(7);
  assertEquals(first.length, 21);
  assertEquals(await say(7), first);
  assert((await say(8)).join() !== first.join());
});
