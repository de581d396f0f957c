import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { addInto, elementwise, fill } from "../kernels/elementwise.ts";
import { chooseAdapter, openDevice } from "../kernels/runtime/adapter.ts";
import { bindingsOf } from "../kernels/runtime/compile.ts";
import { DeviceError, OutOfMemoryError, ShapeError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import type { Kernel } from "../kernels/runtime/kernel.ts";
import { formatBytes, sizeClass } from "../kernels/runtime/memory.ts";
import { formatProfile, Profiler } from "../kernels/runtime/profiler.ts";
import { gpuTest } from "./support/gpu.ts";

gpuTest("an unknown device is an error that lists those there are", async (gpu) => {
  const error = await assertRejects(() => Gpu.open("no such card"), DeviceError, "no such card");
  assert((error as Error).message.includes(gpu.info.name));
});

gpuTest("a device answers to its kind and to a piece of its name", async (gpu) => {
  using same = await Gpu.open(gpu.info.name.slice(0, 5).toUpperCase());
  assertEquals(same.info.name, gpu.info.name);
});

gpuTest("an invalid shader is an error that names its kernel", async () => {
  using gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
  const kernel = gpu.kernel("broken_kernel", () => "@compute fn main() { nonsense }");
  const x = gpu.zeros([4]);
  await assertRejects(
    async () => {
      gpu.run(kernel, [x], [], 1);
      await gpu.wait();
    },
    DeviceError,
    "broken_kernel",
  );
});

gpuTest("a closed device says so", async () => {
  const gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
  gpu[Symbol.dispose]();
  assertThrows(() => gpu.submit(), DeviceError, "closed");
});

gpuTest(
  "a device's loss is what a read says, though it is told after the read has failed",
  async () => {
    const chosen = await chooseAdapter(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
    const [device, info] = await openDevice(chosen);
    const lost = Promise.withResolvers<Pick<GPUDeviceLostInfo, "message">>();
    Object.defineProperty(device, "lost", { value: lost.promise });
    using gpu = new Gpu(device, info);
    using x = gpu.zeros([4]);
    const createBuffer = device.createBuffer.bind(device);
    device.createBuffer = (descriptor) => {
      const buffer = createBuffer(descriptor);
      buffer.mapAsync = () => Promise.reject(new Error("nothing can be mapped"));
      return buffer;
    };
    await assertRejects(() => gpu.read(x), Error, "nothing can be mapped");
    const read = gpu.read(x);
    setTimeout(() => lost.resolve({ message: "unplugged" }), 50);
    await assertRejects(() => read, DeviceError, "unplugged");
    assertThrows(() => gpu.submit(), DeviceError, "unplugged");
  },
);

gpuTest("a tensor beyond the device's limits is an error that names it", (gpu) => {
  const most = gpu.device.limits.maxStorageBufferBindingSize;
  const rows = Math.floor(most / 4096) + 1;
  const error = assertThrows(() => gpu.empty([rows, 1024], "float32", "logits"), OutOfMemoryError);
  assert(error.message.includes('"logits"') && error.message.includes(`[${rows},1024]`));
  assertThrows(() => gpu.empty([3, 0]), ShapeError, "[3,0]");
  assertThrows(() => gpu.empty([NaN]), ShapeError);
  return Promise.resolve();
});

gpuTest("freed memory is used again by tensors of about the same size", (gpu) => {
  const make = (n: number) => gpu.detached(() => gpu.empty([n], "float32", "pooled"));
  const x = make(5000);
  const { storage } = x;
  const live = gpu.memory.live;
  x.dispose();
  assertEquals(live - gpu.memory.live, storage.bytes);
  const y = make(4999);
  assertEquals(y.storage, storage);
  assert(gpu.memoryHolders().includes("pooled"));
  const z = make(5000);
  assert(z.storage !== storage);
  const view = gpu.detached(() => y.view([4, 5]));
  y.dispose();
  assert(storageOf(gpu, 5000) !== storage, "a view keeps the memory");
  view.dispose();
  z.dispose();
  gpu.resetPeak();
  assertEquals(gpu.memory.peak, gpu.memory.live);
  return Promise.resolve();
});

function storageOf(gpu: Gpu, n: number): unknown {
  using tensor = gpu.detached(() => gpu.empty([n]));
  return tensor.storage;
}

gpuTest("what has been bound before is found again, whatever its parameters", async (gpu) => {
  using _scope = gpu.scope();
  const step = (size: number) => {
    using scope = gpu.scope();
    const x = gpu.tensor(new Float32Array(size).fill(1), [size]);
    for (let i = 1; i <= 5; i++) elementwise("scale", "a * s", [x], x, i);
    const y = gpu.zeros([size]);
    addInto(y, x);
    return scope.keep(y);
  };
  using first = step(4000);
  assertEquals((await gpu.read(first))[3999], 120);
  first.dispose();
  const before = gpu.counts;
  using second = step(4004); // of the same size class
  assertEquals((await gpu.read(second))[4003], 120);
  const { bindGroups, pipelines, submits, readbacks, dispatches } = gpu.counts;
  assertEquals([bindGroups, pipelines], [before.bindGroups, before.pipelines]);
  assertEquals([submits - before.submits, readbacks - before.readbacks], [1, 1]);
  assertEquals(dispatches - before.dispatches, 6);
});

gpuTest("more parameters than one submission holds make several", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.empty([1]);
  const { submits } = gpu.counts;
  const count = 2 ** 20 / gpu.device.limits.minUniformBufferOffsetAlignment;
  for (let i = 0; i < count; i++) fill(x, i);
  assertEquals((await gpu.read(x))[0], count - 1);
  assert(gpu.counts.submits > submits + 1);
});

Deno.test("the bindings that a kernel declares are read from its code", () => {
  const code = `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> b: array<atomic<u32>>;
@group(0) @binding(2) var c: texture_2d<f32>;
@group(0) @binding(3) var d: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> p: Params;`;
  assertEquals(bindingsOf(code).map(({ visibility: _, ...rest }) => rest), [
    { binding: 0, buffer: { type: "read-only-storage" } },
    { binding: 1, buffer: { type: "storage" } },
    { binding: 2, texture: { sampleType: "unfilterable-float" } },
    { binding: 3, storageTexture: { format: "rgba32float", access: "write-only" } },
    { binding: 4, buffer: { type: "uniform", hasDynamicOffset: true } },
  ]);
});

gpuTest("writes and reads keep their order with recorded commands", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.tensor(Float32Array.of(1), [1]);
  const sum = gpu.zeros([1]);
  addInto(sum, x);
  gpu.write(x, Float32Array.of(10));
  addInto(sum, x);
  gpu.clear(x);
  addInto(sum, x);
  const copied = gpu.empty([1]);
  gpu.copy(sum, copied);
  addInto(sum, copied);
  assertEquals([...await gpu.read(copied), ...await gpu.read(sum)], [11, 22]);
});

gpuTest("host arrays of any length and kind come back as they were", async (gpu) => {
  using _scope = gpu.scope();
  const halves = gpu.tensor(Uint16Array.of(1, 2, 3), [3]);
  assertEquals(halves.dtype, "float16");
  assertEquals([...new Uint16Array(await gpu.readBytes(halves))], [1, 2, 3]);
  const signed = gpu.tensor(Int32Array.of(-5), [1]);
  assertEquals([signed.dtype, new Int32Array(await gpu.readBytes(signed))[0]], ["int32", -5]);
  const part = new Uint32Array([7, 8, 9]).subarray(1);
  assertEquals([...await gpu.readUint32(gpu.tensor(part, [2]))], [8, 9]);
  assertThrows(() => gpu.write(signed, Int32Array.of(1, 2)), ShapeError, "8 bytes");
});

gpuTest("the profiler counts and times kernels by name", async (gpu) => {
  if (!gpu.info.timestamps) return;
  using _scope = gpu.scope();
  using profiler = new Profiler(gpu);
  gpu.profiler = profiler;
  const x = gpu.zeros([4096]);
  for (let i = 0; i < 1500; i++) fill(x, i);
  addInto(x, gpu.zeros([4096]));
  const table = await profiler.table();
  gpu.profiler = undefined;
  const calls = Object.fromEntries(table.map(({ name, calls }) => [name, calls]));
  assertEquals(calls, { "fill_in_place/4": 1500, "add_in_place/4": 1 });
  assert(table.every(({ milliseconds }) => milliseconds >= 0 && milliseconds < 1e5));
  const text = formatProfile(table);
  assert(text.includes("fill_in_place/4") && text.includes("ms in all"), text);
});

Deno.test("size classes are at most an eighth larger; byte counts read well", () => {
  for (const bytes of [1, 256, 257, 5000, 1e6, 123456789]) {
    const size = sizeClass(bytes);
    assert(size >= bytes && size % 256 === 0 && size <= Math.max(bytes + 256, bytes * 1.125));
  }
  assertEquals([0, 1023, 1536, 5 * 2 ** 30].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.5 KiB",
    "5.0 GiB",
  ]);
});

/** A kernel that no other test has; with a number drawn anew, no driver's cache has it either. */
function adder(gpu: Gpu, i: number, value = i + 0.5): Kernel {
  return gpu.kernel(`adder ${i} ${crypto.randomUUID()}`, () => `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1) fn main() { out[${i}] += f32(${value}); }`);
}

gpuTest("who listens hears of each kernel once, then that all are compiled", async (gpu) => {
  using _scope = gpu.scope();
  const heard: (string | undefined)[] = [];
  gpu.onCompile = (kernel) => void heard.push(kernel?.name);
  try {
    const out = gpu.zeros([4]);
    const [first, second] = [adder(gpu, 1), adder(gpu, 2)];
    for (const kernel of [first, second, first]) gpu.run(kernel, [out], [], 1);
    assertEquals(heard, [first.name, second.name]);
    assertEquals(await gpu.read(out), new Float32Array([0, 3, 2.5, 0]));
    assertEquals(heard, [first.name, second.name, undefined]);
  } finally {
    gpu.onCompile = undefined;
  }
});

Deno.test("kernels compiled ahead by several devices compute what they do without", async () => {
  using gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu", 3);
  if (!gpu.info.software) return;
  using _scope = gpu.scope();
  const heard: string[] = [];
  gpu.onCompile = (kernel) => {
    if (kernel) heard.push(`${kernel.number} ${kernel.of}`);
  };
  const out = gpu.zeros([4]);
  const values = Float32Array.from({ length: 4 }, (_, i) => i && Math.random());
  for (const i of [1, 2, 3]) gpu.run(adder(gpu, i, values[i]), [out], [], 1);
  assertEquals(await gpu.read(out), values);
  const created = ["1 undefined", "2 undefined", "3 undefined"];
  assertEquals(heard, [...created, "1 3", "2 3", "3 3"]);
});
