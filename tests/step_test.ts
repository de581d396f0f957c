import { assert, assertEquals } from "@std/assert";
import { type Batch, packSamples } from "../model/batch.ts";
import { AdamW } from "../train/optimizer.ts";
import { Trainer } from "../train/trainer.ts";
import { useClock } from "./support/clock.ts";
import { goldenVlm } from "./support/golden.ts";
import { gpuTest } from "./support/gpu.ts";

const OPTIONS = {
  epochs: 1,
  stepsPerEpoch: 100,
  learningRates: { projector: 1e-3, language: 1e-3 },
  warmupSteps: 0,
  accumulationSteps: 1,
  compat: false,
};

/** Text of some lengths, all of it to be learnt. */
function textBatch(lengths: readonly number[]): Batch {
  return packSamples(
    lengths.map((length, index) => ({
      index,
      ids: Uint32Array.from({ length }, (_, i) => (7 * i + 3 * index) % 97),
      mask: new Uint8Array(length).fill(1),
      pictureStarts: [],
      pictures: [],
    })),
    196,
  );
}

for (
  const [name, checkpointActivations] of [["dense", false], ["dense", true], [
    "moe",
    false,
  ]] as const
) {
  const what = `${name}${checkpointActivations ? ", blocks computed again" : ""}`;
  gpuTest(
    `${what}: a step is one submission, and binds what the steps before bound`,
    async (gpu) => {
      let clock = 0;
      using _ = useClock(() => clock += 1000); // by the time they take steps are read, several at once or each
      using vlm = await goldenVlm(gpu, name, 0);
      using optimizer = new AdamW(gpu, vlm.groups, { clip: 1 });
      using trainer = new Trainer(vlm, optimizer, { ...OPTIONS, checkpointActivations });
      const batches = [[33, 31], [32, 33], [31, 32]].map(textBatch);
      let step = 0;
      const train = async (count: number) => {
        const before = gpu.counts;
        const { live } = gpu.memory;
        const metrics = [];
        for (let i = 0; i < count; i++, step++) {
          metrics.push(...await trainer.step({ epoch: 0, step, batch: batches[step % 3]! }));
        }
        metrics.push(...await trainer.flush());
        assertEquals(metrics.length, count);
        assertEquals(gpu.memory.live, live, "bytes left in use");
        const { pipelines, bindGroups, submits, readbacks, dispatches } = gpu.counts;
        return {
          made: [pipelines - before.pipelines, bindGroups - before.bindGroups],
          submits: submits - before.submits,
          readbacks: readbacks - before.readbacks,
          dispatches: dispatches - before.dispatches,
        };
      };
      await train(9);
      const { made, submits, readbacks, dispatches } = await train(9);
      assertEquals(submits, 9 + readbacks);
      assert(
        made[0] === 0 && made[1]! <= dispatches / 5,
        `${made} made for ${dispatches} dispatches`,
      );
    },
  );
}

gpuTest("numbers are read when as many updates have been made as was said", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense", 0);
  using optimizer = new AdamW(gpu, vlm.groups, { clip: 1 });
  using trainer = new Trainer(vlm, optimizer, { ...OPTIONS, readEvery: 3 });
  const batch = textBatch([9]);
  const read: number[] = [];
  for (let step = 0; step < 7; step++) {
    read.push((await trainer.step({ epoch: 0, step, batch })).length);
  }
  assertEquals([...read, (await trainer.flush()).length], [0, 0, 3, 0, 0, 3, 0, 1]);
});
