import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { type LoadedBatch, Loader, type LoaderOptions, type LoaderRange } from "../data/loader.ts";
import { SampleWorkers } from "../data/sample_workers.ts";
import { DataError, GlimpseError } from "../kernels/runtime/errors.ts";
import { plain, row, temporaryDataset } from "./support/vlm_data.ts";

/** Eleven rows of different lengths, some about a picture. */
const ROWS = Array.from(
  { length: 11 },
  (_, i) => row("a".repeat(3 * i + 1), [undefined, "tiny.png", "square.png"][i % 3]),
);
const SETTINGS = { batchSize: 4, shuffle: true, seed: 7 };

async function load(
  options: LoaderOptions,
  range: LoaderRange = {},
  each: (batch: LoadedBatch) => void | Promise<void> = () => {},
): Promise<LoadedBatch[]> {
  await using loader = new Loader(options);
  const batches: LoadedBatch[] = [];
  for await (const batch of loader.batches(range)) {
    batches.push(batch);
    await each(batch);
  }
  return batches;
}

Deno.test("batches are the same with any number of workers, and from any start", async () => {
  await using data = await temporaryDataset(ROWS);
  const source = plain(data);
  const alone = await load({ ...SETTINGS, source }, { epochs: 2 });
  assertEquals(alone.map(({ epoch, step, batch }) => [epoch, step, batch.samples]), [
    [0, 0, 4],
    [0, 1, 4],
    [0, 2, 3],
    [1, 0, 4],
    [1, 1, 4],
    [1, 2, 3],
  ]);
  assert(alone.some(({ batch }) => batch.pictureCount > 0));
  for (const workers of [1, 2]) {
    assertEquals(await load({ ...SETTINGS, source, workers, prefetch: 2 }, { epochs: 2 }), alone);
  }
  const later = await load({ ...SETTINGS, source, workers: 1 }, { epoch: 1, step: 1, epochs: 2 });
  assertEquals(later, alone.slice(4));
  await using loader = new Loader({ ...SETTINGS, source });
  assertEquals([loader.length, loader.stepsPerEpoch], [11, 3]);
});

Deno.test("rows of like length meet, if asked", async () => {
  const rows = Array.from({ length: 40 }, (_, i) => row("a".repeat(4 * (i * 7 % 40) + 1)));
  await using data = await temporaryDataset(rows);
  const spread = async (groupWindow: number) => {
    const all = await load({ ...SETTINGS, source: plain(data), groupWindow });
    assertEquals(all.flatMap(({ batch }) => batch.lengths).length, 40);
    const spreads = all.map(({ batch }) => Math.max(...batch.lengths) - Math.min(...batch.lengths));
    return spreads.reduce((a, b) => a + b) / spreads.length;
  };
  assert(await spread(5) < await spread(0) / 2);
});

for (const workers of [0, 1]) {
  const name = (what: string) => `${what}, with ${workers} workers`;

  Deno.test(name("a bad row ends the run at its batch"), async () => {
    await using data = await temporaryDataset([...ROWS.slice(0, 5), row("x", "gone.png"), "{"]);
    const options = { ...SETTINGS, shuffle: false, source: plain(data), workers };
    const seen: number[] = [];
    const error = await assertRejects(
      () => load(options, {}, ({ step }) => void seen.push(step)),
      DataError,
      `${data.dataPath}:6: picture ${data.imagesPath}/gone.png does not exist.`,
    );
    assert(error instanceof DataError);
    assertEquals(seen, [0]);
  });

  Deno.test(name("a bad row is left out, counted and told of"), async () => {
    await using data = await temporaryDataset(["{", ...ROWS.slice(0, 3), row("x", "gone.png")]);
    const told: [string, number][] = [];
    const batches = await load({
      ...SETTINGS,
      shuffle: false,
      source: plain(data),
      workers,
      onBadSample: "skip",
      onSkip: ({ message }, index) => told.push([message.split(": ")[0]!, index]),
    });
    assertEquals(batches.map(({ batch, skipped }) => [batch.samples, skipped]), [[3, 1], [0, 1]]);
    assertEquals(told, [[`${data.dataPath}:1`, 0], [`${data.dataPath}:5`, 4]]);
  });

  Deno.test(name("a picture that vanishes in mid-run or is cut short is a bad row"), async () => {
    const rows = Array.from({ length: 40 }, () => row("Yes.", "tiny.png"));
    await using data = await temporaryDataset(rows);
    const picture = join(data.imagesPath, "tiny.png");
    const options = { ...SETTINGS, source: plain(data), workers, prefetch: 1 };
    const seen: number[] = [];
    const vanish = async ({ step }: LoadedBatch) => {
      seen.push(step);
      if (step === 0) await Deno.remove(picture); // the next batch may have been made before
    };
    await assertRejects(() => load(options, {}, vanish), DataError, "does not exist");
    assert(seen.length < 4);
    await Deno.copyFile(join(data.imagesPath, "square.png"), picture);
    await Deno.truncate(picture, 600);
    await assertRejects(() => load(options), DataError, "cannot be read");
  });

  Deno.test(
    name("a loop that is left and a loader that is closed leave nothing behind"),
    async () => {
      await using data = await temporaryDataset(ROWS);
      const loader = new Loader({ ...SETTINGS, source: plain(data), workers });
      for await (const { step } of loader.batches({ epochs: 100 })) if (step === 1) break;
      for await (const { epoch } of loader.batches({ epoch: 5, epochs: 9 })) {
        assertEquals(epoch, 5);
        break;
      }
      await loader[Symbol.asyncDispose]();
      const again = loader.batches().next();
      if (workers > 0) await assertRejects(() => again, GlimpseError, "were stopped");
      else await again.catch(() => {});
    },
  );
}

Deno.test("a padded batch has rows of one length", async () => {
  await using data = await temporaryDataset(ROWS);
  const [first] = await load({ ...SETTINGS, source: plain(data), padTo: 150, padId: 0 });
  assertEquals(first!.batch.lengths, [150, 150, 150, 150]);
});

Deno.test("a data file without rows, or a tokenizer that is none, ends the run", async () => {
  await using empty = await temporaryDataset([]);
  assertThrows(() => new Loader({ ...SETTINGS, source: plain(empty) }), DataError, "has no rows");
  await using data = await temporaryDataset(ROWS);
  const source = { ...plain(data), tokenizer: { tokenizer: {}, config: {} } };
  await assertRejects(
    () => load({ ...SETTINGS, source, workers: 1, onBadSample: "skip" }),
    GlimpseError,
    "tokenizer.json",
  );
});

Deno.test("a worker that fails fails every sample that waits for it", async () => {
  const module = (code: string) => new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  for (const code of ["throw new Error('no luck')", "onmessage = () => { throw 'no luck' }"]) {
    await using workers = new SampleWorkers(2, module(code));
    const samples = [1, 2, 3, 4, 5, 6].map((index) => workers.sample(index));
    for (const sample of samples) {
      await assertRejects(() => sample, GlimpseError, "A worker that loads samples failed");
    }
    await assertRejects(() => workers.sample(7), GlimpseError, "no luck");
  }
});

Deno.test("samples that nobody waits for any more do not keep the workers from ending", async () => {
  await using data = await temporaryDataset(ROWS);
  const workers = new SampleWorkers(2);
  workers.open(plain(data));
  const samples = ROWS.map((_, index) => workers.sample(index));
  const outcomes = Promise.allSettled(samples);
  await Promise.any(samples);
  await workers[Symbol.asyncDispose]();
  const rejected = (await outcomes).filter(({ status }) => status === "rejected");
  assert(rejected.length > 0 && rejected.length < ROWS.length);
});
