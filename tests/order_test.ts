import { assert, assertEquals } from "@std/assert";
import { type OrderOptions, SampleOrder, spreadRows } from "../data/order.ts";

const OPTIONS: OrderOptions = { length: 1003, batchSize: 16, shuffle: true, seed: 42 };
const sorted = (indices: Uint32Array) => indices.toSorted();
const differ = (a: Uint32Array, b: Uint32Array) => assert(a.join() !== b.join());
const all = Uint32Array.from({ length: OPTIONS.length }, (_, i) => i);

Deno.test("without shuffling, an epoch goes as the file does", () => {
  const order = new SampleOrder({ length: 10, batchSize: 4, shuffle: false, seed: 1 });
  assertEquals(order.stepsPerEpoch, 3);
  const batches = [0, 1, 2].map((step) => [...order.batch(7, step)]);
  assertEquals(batches, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]);
});

Deno.test("every epoch has every sample once, in an order of its own", () => {
  const order = new SampleOrder(OPTIONS);
  const [first, second] = [order.epoch(0), order.epoch(1)];
  assertEquals(sorted(first), all);
  assertEquals(sorted(second), all);
  differ(first, second);
  differ(first, all);
  differ(first, new SampleOrder({ ...OPTIONS, seed: 43 }).epoch(0));
});

Deno.test("a batch is the same wherever the run began", () => {
  const through = new SampleOrder(OPTIONS);
  for (let step = 0; step < through.stepsPerEpoch; step++) through.batch(0, step);
  const there = new SampleOrder(OPTIONS).batch(3, 62);
  assertEquals(there, through.batch(3, 62));
  assertEquals(there.length, 1003 - 62 * 16);
});

Deno.test("grouping brings samples of like size together and loses none", () => {
  const sizes = new SampleOrder({ ...OPTIONS, seed: 9 }).epoch(0); // 0 to 1002 in some order
  const spread = (options: OrderOptions) => {
    const order = new SampleOrder(options);
    assertEquals(sorted(order.epoch(0)), all);
    let sum = 0;
    for (let step = 0; step < order.stepsPerEpoch; step++) {
      const batch = Array.from(order.batch(0, step), (index) => sizes[index]!);
      sum += Math.max(...batch) - Math.min(...batch);
    }
    return sum / order.stepsPerEpoch;
  };
  const sizeOf = (index: number) => sizes[index]!;
  const grouped = { ...OPTIONS, groupWindow: 8, sizeOf };
  assert(spread(grouped) < spread(OPTIONS) / 4);
  assertEquals(new SampleOrder(grouped).epoch(2), new SampleOrder(grouped).epoch(2));
  const ordered = new SampleOrder({ ...grouped, shuffle: false });
  differ(ordered.epoch(0), ordered.epoch(1)); // batches of a window are shuffled
});

Deno.test("there may be fewer samples than a batch takes", () => {
  const order = new SampleOrder({
    length: 3,
    batchSize: 8,
    shuffle: true,
    seed: 0,
    groupWindow: 2,
  });
  assertEquals([order.stepsPerEpoch, ...sorted(order.batch(0, 0))], [1, 0, 1, 2]);
});

Deno.test("some rows are spread evenly over all, from the first on, the same each time", () => {
  assertEquals(spreadRows(10, 4), [0, 2, 5, 7]);
  assertEquals(spreadRows(3, 8), [0, 1, 2]);
  assertEquals(spreadRows(3), [0, 1, 2]);
  assertEquals(spreadRows(0, 2), []);
});
