import { assert, assertEquals, assertRejects } from "@std/assert";
import { chooseAdapter, openDevice } from "../kernels/runtime/adapter.ts";
import { DeviceError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { gpuTest } from "./support/gpu.ts";

const DEVICE = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";

/** Reads often enough that a buffer is used again. */
async function warmUp(gpu: Gpu): Promise<void> {
  using x = gpu.detached(() => gpu.tensor(Float32Array.of(-1), [1]));
  for (let i = 0; i < 3; i++) await gpu.read(x);
}

gpuTest("each of many readings gives what is there now", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([1]), long = gpu.zeros([100]);
  for (let i = 0; i < 50; i++) {
    gpu.write(x, Float32Array.of(i));
    gpu.write(long, new Float32Array(100).fill(-i));
    assertEquals([...await gpu.read(x)], [i]);
    if (i % 3 === 0) assertEquals((await gpu.read(long))[99], -i);
    if (i % 10 === 0) gpu.trim();
    if (i % 5 === 0) await gpu.wait();
  }
});

gpuTest("readings at the same time do not meet", async (gpu) => {
  using _scope = gpu.scope();
  await warmUp(gpu);
  const numbers = [...Array(8).keys()];
  const tensors = numbers.map((i) => gpu.tensor(Float32Array.of(i), [1]));
  for (let round = 0; round < 3; round++) {
    const read = await Promise.all(tensors.map((one) => gpu.read(one)));
    assertEquals(read.map(([value]) => value), numbers);
  }
  const reads = tensors.map((one) => gpu.recordRead([one]));
  reads[2]![Symbol.dispose]();
  gpu.submit();
  const pending = reads.toSpliced(2, 1).map((read) => read());
  for (const read of reads) read[Symbol.dispose](); // which those that are read outlive
  const more = await Promise.all(tensors.map((one) => gpu.read(one)));
  assertEquals(more.map(([value]) => value), numbers);
  const bytes = await Promise.all(pending);
  assertEquals(bytes.map(([one]) => new Float32Array(one!)[0]), [0, 1, 3, 4, 5, 6, 7]);
});

gpuTest("buffers that are mapped late, as in browsers, are waited for", async () => {
  const [device, info] = await openDevice(await chooseAdapter(DEVICE));
  using gpu = new Gpu(device, info);
  const createBuffer = device.createBuffer.bind(device);
  let early = 0;
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer(descriptor);
    const mapAsync = buffer.mapAsync.bind(buffer), range = buffer.getMappedRange.bind(buffer);
    let mapped = false;
    buffer.mapAsync = async (...given) => {
      mapped = false;
      await mapAsync(...given);
      mapped = true;
      return undefined;
    };
    buffer.getMappedRange = (...given) => {
      if (mapped) return range(...given);
      early++;
      throw new DOMException("not mapped yet", "OperationError");
    };
    return buffer;
  };
  using x = gpu.zeros([1]);
  const { setTimeout } = globalThis;
  using _ = { [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout }) };
  const refused = () => {
    throw new Error("timers of hidden pages come a second late");
  };
  Object.assign(globalThis, { setTimeout: refused });
  for (let i = 0; i < 4; i++) {
    gpu.write(x, Float32Array.of(i));
    assertEquals((await gpu.read(x))[0], i);
  }
  assertEquals(early, 3, "the first time a buffer is not tried");
});

gpuTest("after refused commands a reading is their error, not what was read before", async () => {
  using gpu = await Gpu.open(DEVICE);
  using x = gpu.zeros([1]);
  await warmUp(gpu);
  gpu.run(gpu.kernel("broken_kernel", () => "@compute fn main() { nonsense }"), [x], [], 1);
  await assertRejects(() => gpu.read(x), DeviceError, "broken_kernel");
});

gpuTest("a reading from a device that has gone is an error that says so", async () => {
  using gpu = await Gpu.open(DEVICE);
  using x = gpu.zeros([1]);
  await warmUp(gpu);
  gpu.device.destroy();
  await assertRejects(() => gpu.read(x), DeviceError, "was lost");
  await assertRejects(() => gpu.wait(), DeviceError, "was lost");
});

gpuTest("a device that is closed while it is read is an error that says so", async () => {
  const gpu = await Gpu.open(DEVICE);
  const x = gpu.zeros([1]);
  await warmUp(gpu);
  const read = gpu.read(x);
  gpu[Symbol.dispose]();
  await assertRejects(() => read, DeviceError, "closed");
  await assertRejects(() => gpu.wait(), DeviceError, "closed");
});

gpuTest("timers and sockets get their turn between readings", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([1]);
  let heard = 0;
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  await using server = Deno.serve(options, () => new Response("here"));
  fetch(`http://127.0.0.1:${server.addr.port}`).then((answer) => answer.text())
    .then(() => heard++);
  setTimeout(() => heard++, 5);
  for (let reads = 0; heard < 2; reads++) {
    await gpu.read(x);
    assert(reads < 1e5);
  }
});
