/**
 * Glimpse against jax-js, the JavaScript library that trains in Deno too: matrix products, and a training step of one
 * MiniMind block with its head, on the same adapter and in turns.
 *
 *     deno task bench:js [--rounds 3] [--device gpu] [--wasm]
 *
 * Prints Markdown. --wasm lets jax-js's WebAssembly backend take part, too. The first call of each, in which kernels are
 * compiled, does not count; calls end when their result has been read.
 */
import { parseArgs } from "node:util";
import { defaultDevice, type Device, init, jit, numpy as np } from "npm:@jax-js/jax@0.1.25";
import { product } from "../kernels/matmul.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { Random } from "../model/random.ts";
import { glimpseStep } from "./versus/block_glimpse.ts";
import { jaxStep } from "./versus/block_jax.ts";

const { values: given } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    device: { type: "string", default: "gpu" },
    wasm: { type: "boolean", default: false },
  },
});
using gpu = await Gpu.open(given.device);
const found = await init();
if (!found.includes("webgpu")) console.log("jax-js finds no WebGPU here.\n");
const backends: readonly Device[] = found.includes("webgpu")
  ? given.wasm ? ["webgpu", "wasm"] : ["webgpu"]
  : ["wasm"];

/** Something to be timed; it returns a number that shows whether the others compute the same. */
type Contestant = readonly [name: string, call: () => Promise<number>];

/** Lets each take a turn in every round, and prints a table. */
async function race(
  title: string,
  flops: number,
  contestants: readonly Contestant[],
): Promise<void> {
  const times = contestants.map((): number[] => []);
  const values: number[] = [];
  for (const [i, [, call]] of contestants.entries()) values[i] = await call();
  for (let round = 0; round < Number(given.rounds); round++) {
    for (const [i, [, call]] of contestants.entries()) {
      const start = performance.now();
      values[i] = await call();
      times[i]!.push((performance.now() - start) / 1000);
    }
  }
  const median = (i: number) => times[i]!.sort((a, b) => a - b)[times[i]!.length >> 1]!;
  console.log(`| ${title} | s | GFLOP/s | Glimpse is faster by | result |`);
  console.log("| --- | --- | --- | --- | --- |");
  contestants.forEach(([name], i) => {
    const speed = (flops / median(i) / 1e9).toFixed(1);
    const ratio = i === 0 ? "" : `${(median(i) / median(0)).toFixed(1)}×`;
    console.log(
      `| ${name} | ${median(i).toFixed(4)} | ${speed} | ${ratio} | ${values[i]!.toFixed(5)} |`,
    );
  });
  console.log();
}

async function raceProducts(m: number, n: number, k: number): Promise<void> {
  const random = new Random(0);
  const a = Float32Array.from({ length: m * k }, () => random.float() - 0.5);
  const b = Float32Array.from({ length: n * k }, () => random.float() - 0.5);
  using _scope = gpu.scope();
  const [left, right] = [gpu.tensor(a, [m, k]), gpu.tensor(b, [n, k])];
  const [out, last] = [gpu.empty([m, n]), m * n - 1];
  const jax = backends.map((device): Contestant => {
    defaultDevice(device);
    const [left, right] = [np.array(a).reshape([m, k]), np.array(b).reshape([n, k])];
    const multiply = jit((left: np.Array, right: np.Array) => np.matmul(left, right.transpose()));
    return [`jax-js, ${device}`, async () => {
      defaultDevice(device);
      return (await multiply(left.ref, right.ref).data())[last]!;
    }];
  });
  await race(`product ${m} × ${n} × ${k}`, 2 * m * n * k, [
    ["Glimpse", async () => {
      product("NT", left, right, out, { m, n, k });
      return (await gpu.read(out))[last]!;
    }],
    ...jax,
  ]);
}

console.log(`${gpu.info.name}, jax-js 0.1.25\n`);
await raceProducts(512, 768, 512);
await raceProducts(788, 3072, 768);
const shape = { sequences: gpu.info.software ? 2 : 16, length: gpu.info.software ? 128 : 256 };
const rows = shape.sequences * shape.length;
const weights = 512 * 768 + 512 * 512 + 3 * 512 * 1408 + 6400 * 512;
await race(
  `training step of a block and its head, ${shape.sequences} × ${shape.length} rows`,
  6 * weights * rows,
  [
    ["Glimpse", glimpseStep(gpu, shape)],
    ...backends.map((device): Contestant => [`jax-js, ${device}`, jaxStep(device, shape)]),
  ],
);
Deno.exit(); // its workers would keep the process alive
