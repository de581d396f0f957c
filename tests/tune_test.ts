import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { checkGrouped, groupedTrial } from "../kernels/experts/check.ts";
import { groupedKernels } from "../kernels/experts/choose.ts";
import type { GroupedShape } from "../kernels/experts/problem.ts";
import { readTuning, tuningPath, writeTuning } from "../data/tuning_file.ts";
import { checkKernel, productTrial, toleranceOf, trialError } from "../kernels/matmul/check.ts";
import {
  candidates,
  type Choice,
  chooseKernel,
  kernelName,
  kernelsFor,
  parseTuning,
  preferred,
  productClass,
  type ProductShape,
  type Tuning,
  tuningOf,
  useTuning,
} from "../kernels/matmul/choose.ts";
import { checkRules, holds, tuneProducts } from "../kernels/matmul/tune.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { keepKernels } from "../train/start.ts";
import { useClock } from "./support/clock.ts";
import { gpuTest } from "./support/gpu.ts";
import { openCard } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

const GEMV: ProductShape = { layout: "NT", m: 3, n: 68, k: 32, precision: "float32" };

/** A device of a test's own, to be meddled with. */
async function ownGpu(): Promise<Gpu> {
  return await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
}

/** The choice for a product of a shape on a device. */
function chosen(gpu: Gpu, shape: ProductShape): Choice {
  using _scope = gpu.scope();
  const { m, n, k } = shape;
  const [a, b, out] = [gpu.empty([m, k]), gpu.empty([n, k]), gpu.empty([m, n])];
  return chooseKernel({ ...shape, a, b, out });
}

Deno.test("what was measured stands for products of its class, unless its kernel does not take them", async () => {
  using gpu = await ownGpu();
  const shape: ProductShape = { ...GEMV, m: 40, n: 56, k: 8 };
  assertEquals(productClass(shape), "NT/64/64/8/000");
  assertEquals(productClass({ ...shape, m: 41, precision: "float16" }), "NT/64/64/8/100/float16");
  const tuning: Tuning = {
    choices: {
      "NT/64/64/8/000": { family: "tiled", tile: 32 },
      "NT/64/64/8/100": { family: "gemv" },
    },
    wrong: [],
  };
  const ruled = chosen(gpu, shape);
  useTuning(gpu, tuning);
  assertEquals(chosen(gpu, { ...shape, n: 52 }), { family: "tiled", tile: 32 });
  assertEquals(chosen(gpu, { ...shape, m: 41 }), ruled);
  useTuning(gpu, { ...tuning, wrong: ["tiled/32"] });
  assertEquals(chosen(gpu, shape), ruled);
  useTuning(gpu, { choices: {}, wrong: [kernelName(ruled, "float32")] });
  assert(chosen(gpu, shape).family !== ruled.family || ruled.family === "small");
  useTuning(gpu, undefined);
  assertEquals(chosen(gpu, shape), ruled);
});

gpuTest("sums in float16 are far from being taken for wrong, whatever the numbers", async (gpu) => {
  if (!gpu.info.float16) return;
  const choice: Choice = { family: "tiled", tile: 64, float16Sums: true };
  const shape: ProductShape = { layout: "NT", m: 33, n: 65, k: 256, precision: "float16" };
  for (let draw = 0; draw < 4; draw++) {
    using _scope = gpu.scope();
    const trial = productTrial(gpu, shape, seeded(`sums in float16 ${draw}`).float);
    trial.run(choice);
    const error = await trialError(trial, new Map([0, 16, 32].map((i) => [i, trial.row(i)])));
    assert(error < toleranceOf(choice) / 1.5, `relative error ${error}`);
  }
});

Deno.test("a wrong kernel is found, said and not chosen", async () => {
  using gpu = await ownGpu();
  const kernel = gpu.kernel.bind(gpu);
  gpu.kernel = (key, code) =>
    kernel(
      key,
      () => key.startsWith("matmul_gemv") ? code().replaceAll("+= x *", "+= 1.001 * x *") : code(),
    );
  const { float } = seeded("wrong kernel");
  assertEquals(chosen(gpu, GEMV), { family: "gemv" });
  const rules = await checkRules(gpu, [GEMV], float);
  assertEquals(rules.map(({ name }) => name), ["gemv"]);
  assert(/^NT .* is off by \d\.\de-/.test(rules[0]!.reason), rules[0]!.reason);
  const { tuning, classes, wrong } = await tuneProducts(gpu, [GEMV], float, { budget: 0.001 });
  assertEquals([wrong.map(({ name }) => name), tuning.wrong], [["gemv"], ["gemv"]]);
  assertEquals(classes[0]!.rule, undefined);
  useTuning(gpu, tuning);
  assert(chosen(gpu, GEMV).family !== "gemv");
  assert(chosen(gpu, { ...GEMV, m: 1, n: 1024, k: 1024 }).family !== "gemv");
});

Deno.test("a kernel is preferred to the rule's where it is faster by the margin", async () => {
  using gpu = await ownGpu();
  Object.defineProperty(gpu, "info", { value: { ...gpu.info, timestamps: false } });
  const run = gpu.run.bind(gpu);
  let clock = 0; // goes with what is run, whatever else this machine does
  using _ = useClock(() => clock);
  gpu.run = (kernel, ...rest) => {
    clock += kernel.name.startsWith("matmul_gemv") ? 300 : 1;
    run(kernel, ...rest);
  };
  const { float } = seeded("slow kernel");
  const heard: string[] = [];
  const options = {
    budget: 0.002,
    rounds: 2,
    onClass: ({ name }: { name: string }) => heard.push(name),
  };
  const shapes = [GEMV, { ...GEMV, n: 72 }];
  const found = await tuneProducts(gpu, shapes, float, options);
  const name = productClass(GEMV);
  assertEquals(heard, [name]);
  assert(found.tuning.choices[name]!.family !== "gemv");
  assertEquals(found.classes[0]!.rule!.choice, { family: "gemv" });
  const kept = await tuneProducts(gpu, shapes, float, { ...options, margin: 1 });
  assertEquals(kept.tuning.choices[name], { family: "gemv" });
  const signal = AbortSignal.abort();
  assertEquals((await tuneProducts(gpu, shapes, float, { signal })).classes, []);
  assertEquals(gpu.memory.live, 0);
});

/** Products of three experts: each layout, of one tile to an expert and some, and in tiles of 128. */
const GROUPED: readonly GroupedShape[] = (["NT", "NN", "TN"] as const).flatMap((layout) =>
  ([64, 128] as const).map((tile): GroupedShape => {
    const [m, k] = layout === "TN" ? [132, 5 * tile] : [5 * tile, 132];
    return { layout, m, n: 128, k, precision: "float32", experts: 3, tile };
  })
);

gpuTest("products that the device cannot hold are known", (gpu) => {
  const most = gpu.device.limits.maxStorageBufferBindingSize / 4 / 1024;
  const product = { layout: "NT", m: most, n: 1024, k: 8, precision: "float32" } as const;
  assert(holds(gpu, product));
  assert(!holds(gpu, { ...product, m: most + 1 }));
  assert(!holds(gpu, { ...product, experts: most / 4 + 1, tile: 64, m: 64, k: 4 }));
  return Promise.resolve();
});

gpuTest("the self-check passes the experts' kernels that the device is given", async (gpu) => {
  const { float } = seeded("experts' self-check");
  for (const shape of GROUPED) {
    for (const choice of groupedKernels(gpu, shape).candidates()) {
      for (const precision of ["float32", "bfloat16"] as const) {
        const wrong = await checkGrouped(gpu, choice, precision, float);
        assertEquals(wrong, undefined, JSON.stringify(choice));
      }
    }
  }
});

Deno.test("experts' products are measured beside the others, and a wrong kernel of theirs is not chosen", async () => {
  using gpu = await ownGpu();
  const [shape] = GROUPED;
  const kernels = groupedKernels(gpu, shape!);
  const [large] = kernels.candidates();
  const { float } = seeded("experts' kernels");
  const options = { budget: 0.001, rounds: 1 };
  const found = await tuneProducts(gpu, [GEMV, shape!], float, options);
  const name = "experts/3/64/NT/512/128/256/000";
  assertEquals(Object.keys(found.tuning.choices), [productClass(GEMV), name]);
  assertEquals([found.wrong, parseTuning(found.tuning)], [[], found.tuning]);
  useTuning(gpu, { choices: { [name]: { family: "small" } }, wrong: [] });
  assertEquals(preferred(gpu, kernels), { family: "small" });
  useTuning(gpu, undefined);
  assertEquals(preferred(gpu, kernels), large);

  if (large!.family === "small") return;
  using bad = await ownGpu();
  const kernel = bad.kernel.bind(bad);
  bad.kernel = (key, code) =>
    kernel(
      key,
      () =>
        key.includes("/experts/")
          ? code().replaceAll(/(c\w+ \+= a\w*(\.\w)?) \*/g, "$1 * 1.001 *")
          : code(),
    );
  const tuned = await tuneProducts(bad, [shape!], float, options);
  assertEquals(tuned.wrong.map(({ name }) => name), [kernels.nameOf(large!)]);
  useTuning(bad, tuned.tuning);
  assertEquals(preferred(bad, groupedKernels(bad, shape!)), { family: "small" });
  {
    using _scope = bad.scope();
    const ran: string[] = [];
    const run = bad.run.bind(bad);
    bad.run = (...args) => (ran.push(args[0].name), run(...args));
    groupedTrial(bad, shape!, float).run(preferred(bad, groupedKernels(bad, shape!)));
    assertEquals(ran, ["experts_small/NT"]);
  }
  assertEquals([gpu.memory.live, bad.memory.live], [0, 0]);
});

gpuTest("the self-check passes the kernels that the device is given", async (gpu) => {
  const { float } = seeded("self-check");
  const shapes: ProductShape[] = [GEMV, { ...GEMV, m: 256, n: 256, k: 128 }];
  const choices = shapes.flatMap((shape) => candidates(gpu, shape));
  for (const choice of new Set([...choices, { family: "small" } as const])) {
    assertEquals(
      await checkKernel(gpu, choice, "float32", float),
      undefined,
      JSON.stringify(choice),
    );
    if (choice.family === "tiled") continue;
    assertEquals(await checkKernel(gpu, choice, "bfloat16", float), undefined);
  }
  if (!gpu.info.float16) return;
  const float16Sums: Choice = { family: "tiled", tile: 64, float16Sums: true };
  assertEquals(await checkKernel(gpu, float16Sums, "float16", float), undefined);
});

Deno.test("candidates for a graphics card are tiles that fit its memory, long sums cut for few of them", async () => {
  using gpu = await openCard();
  const slices = (shape: ProductShape, tile: number) =>
    candidates(gpu, shape).flatMap((choice) =>
      choice.family === "tiled" && choice.tile === tile && !choice.float16Sums
        ? [choice.slices]
        : []
    );
  const gradient: ProductShape = { layout: "TN", m: 512, n: 512, k: 4096, precision: "float32" };
  assertEquals(slices(gradient, 128), [1, 2, 4, 8, 16]);
  assertEquals(slices(gradient, 32), [1, 2]);
  assertEquals(slices({ ...gradient, k: 128 }, 128), [1]);
  const inHalf = (shape: ProductShape) =>
    candidates(gpu, shape).some((one) => one.family === "tiled" && one.float16Sums);
  const layers = (["float32", "bfloat16", "float16"] as const)
    .map((precision): ProductShape => ({ ...gradient, layout: "NT", precision }));
  assertEquals(layers.map(inHalf), [false, false, true]);
  assert(!inHalf({ ...gradient, precision: "float16" }));
  const families = new Set(candidates(gpu, GEMV).map(({ family }) => family));
  assertEquals(families, new Set(["gemv", "tiled", "small"] as const));
});

Deno.test("where registers are few, no rule chooses tiles of 128, and two of 64 share the rows of an expert's", async () => {
  using gpu = await openCard({ fewRegisters: true });
  const large: ProductShape = { layout: "NT", m: 4096, n: 2816, k: 512, precision: "float32" };
  assertEquals(kernelsFor(gpu, large).rule, { family: "tiled", tile: 64, slices: 1 });
  const tiled: Choice = { family: "tiled", tile: 64 };
  for (const shape of GROUPED) assertEquals(groupedKernels(gpu, shape).rule, tiled);
  const { float } = seeded("few registers");
  assertEquals(await checkGrouped(gpu, tiled, "float32", float), undefined);
});

Deno.test("what was found is kept in a file, and nothing else is taken for it", async () => {
  using gpu = await ownGpu();
  const folder = await Deno.makeTempDir();
  try {
    assertEquals(await readTuning(gpu, folder), undefined);
    const tuning: Tuning = { choices: { "NT/8/8/8/111": { family: "gemv" } }, wrong: ["none"] };
    const path = await writeTuning(gpu, tuning, folder);
    assertEquals(path, await tuningPath(gpu, folder));
    assert(path.startsWith(join(folder, "tune-")), path);
    const read = await readTuning(gpu, folder);
    assertEquals([read?.tuning, read?.adapter], [tuning, gpu.info.name]);
    await Deno.writeTextFile(path, '{"tuning": {"choices"');
    assertEquals(await readTuning(gpu, folder), undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const long: Tuning = {
    choices: { "TN/32/32/8192/000": { family: "tiled", tile: 32, slices: 32 } }, // by the rule
    wrong: [],
  };
  assertEquals(parseTuning(long), long);
  const bad: unknown[] = [
    null,
    {},
    { choices: {}, wrong: [1] },
    { choices: { x: { family: "other" } }, wrong: [] },
    { choices: { x: { family: "tiled", tile: 48 } }, wrong: [] },
    { choices: { x: { family: "tiled", tile: 32, slices: 1e9 } }, wrong: [] },
  ];
  for (const json of bad) assertEquals(parseTuning(json), undefined, JSON.stringify(json));
});

Deno.test("a run that goes on keeps the kernels that it began with on the same adapter", async () => {
  using gpu = await ownGpu();
  const said: string[] = [];
  const report = { say: (text: string) => said.push(text) };
  const start = { epoch: 0, step: 1, updates: 1, loss: 1 };
  const [old, found]: Tuning[] = [
    { choices: { "NT/8/8/8/000": { family: "small" } }, wrong: [] },
    { choices: { "NT/8/8/8/000": { family: "gemv" } }, wrong: [] },
  ] as [Tuning, Tuning];
  const goOn = (adapter: string, tuning?: Tuning) => {
    useTuning(gpu, found);
    keepKernels(gpu, { ...start, kernels: { adapter, ...tuning && { tuning } } }, report);
    return tuningOf(gpu);
  };
  assertEquals(goOn(gpu.info.name, found), found);
  assertEquals(goOn("another", old), found);
  assertEquals(said, []);
  assertEquals(goOn(gpu.info.name, old), old);
  assertEquals(goOn(gpu.info.name), undefined);
  assertEquals(said.length, 2);
});
