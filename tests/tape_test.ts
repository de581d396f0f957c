import { assert, assertEquals, assertThrows } from "@std/assert";
import { add, addInto, backward, copy, scale, startTape } from "../kernels/elementwise.ts";
import { sum } from "../kernels/reduce.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { swiglu } from "../kernels/swiglu.ts";
import { gpuTest } from "./support/gpu.ts";

function leaf(gpu: Gpu, values: number[]): Tensor {
  const tensor = gpu.tensor(Float32Array.from(values), [values.length]);
  tensor.requiresGrad = true;
  tensor.grad = gpu.tensor(new Float32Array(values.length).fill(99), [values.length]);
  return tensor;
}

gpuTest("nothing is recorded, kept or computed for what is frozen", (gpu) => {
  using _scope = gpu.scope();
  using tape = startTape(gpu);
  const frozen = gpu.zeros([4]);
  const before = gpu.memory.live;
  {
    using _inner = gpu.scope();
    const y = sum(swiglu(scale(add(frozen, frozen), 2)));
    assertEquals([tape.length, y.requiresGrad], [0, false]);
    assertThrows(() => backward(tape, y), ShapeError, "frozen");
  }
  assertEquals(gpu.memory.live, before);
  return Promise.resolve();
});

gpuTest("a tensor used twice gets the sum of both gradients", async (gpu) => {
  using _scope = gpu.scope();
  const x = leaf(gpu, [1, 2, 3]);
  using tape = startTape(gpu);
  const h = scale(x, 2);
  backward(tape, sum(add(add(h, x), scale(h, 10))));
  assertEquals([...await gpu.read(x.grad!)], [23, 23, 23]);
});

gpuTest("gradients that add hands to both sides do not write over each other", async (gpu) => {
  using _scope = gpu.scope();
  const [x, z] = [leaf(gpu, [1, 2]), leaf(gpu, [3, 4])];
  using tape = startTape(gpu);
  const a = scale(x, 1), b = scale(z, 1);
  const early = scale(a, 100); // its gradient flows to `a` after that of the sum
  const total = add(a, b);
  backward(tape, sum(early), sum(total));
  assertEquals([...await gpu.read(x.grad!)], [101, 101]);
  assertEquals([...await gpu.read(z.grad!)], [1, 1]);
});

gpuTest("the same tensor on both sides counts twice", async (gpu) => {
  using _scope = gpu.scope();
  const x = leaf(gpu, [1, 2]);
  using tape = startTape(gpu);
  const h = copy(x);
  backward(tape, sum(add(h, h)));
  assertEquals([...await gpu.read(x.grad!)], [2, 2]);
});

gpuTest("a gradient is overwritten first and added to later", async (gpu) => {
  using _scope = gpu.scope();
  const x = leaf(gpu, [1, 2]);
  const run = () => {
    using _inner = gpu.scope();
    using tape = startTape(gpu);
    backward(tape, sum(scale(x, 3)));
  };
  run();
  assertEquals([...await gpu.read(x.grad!)], [3, 3]);
  run();
  assertEquals([...await gpu.read(x.grad!)], [6, 6]);
  x.gradFilled = false;
  run();
  assertEquals([...await gpu.read(x.grad!)], [3, 3]);
});

gpuTest("scopes free what they own, a tape what it kept", async (gpu) => {
  const before = gpu.memory.live;
  {
    using _scope = gpu.scope();
    const x = leaf(gpu, [1, 2, 3, 4]);
    using tape = startTape(gpu);
    let kept: Tensor;
    {
      using inner = gpu.scope();
      const h = scale(x, 2);
      kept = inner.keep(swiglu(h));
      assert(!h.disposed);
    }
    const loss = sum(kept); // swiglu's input lives on, for its backward
    const live = gpu.memory.live;
    backward(tape, loss);
    assert(gpu.memory.live < live, "backward frees what it has passed");
    assertEquals([...await gpu.read(x.grad!)].length, 4);
  }
  {
    using _scope = gpu.scope();
    using _tape = startTape(gpu);
    swiglu(scale(leaf(gpu, [1, 2]), 2)); // never played
  }
  assertEquals(gpu.memory.live, before);
  assertEquals(gpu.tape, undefined);
});

gpuTest("a freed tensor cannot be used", (gpu) => {
  const x = gpu.detached(() => gpu.zeros([2, 3]));
  const y = gpu.detached(() => gpu.zeros([2, 3]));
  x.dispose();
  assert(x.disposed);
  assertThrows(() => addInto(y, x), ShapeError, "[2,3]");
  y.dispose();
  return Promise.resolve();
});

gpuTest(
  "a parameter is named when its gradient is whole, the ones used last first",
  async (gpu) => {
    using _scope = gpu.scope();
    const [shared, early, late, unused] = [
      leaf(gpu, [1]),
      leaf(gpu, [2]),
      leaf(gpu, [3]),
      leaf(gpu, [4]),
    ];
    using tape = startTape(gpu);
    const h = add(scale(shared, 2), scale(early, 3));
    const loss = sum(add(add(h, scale(late, 5)), shared));
    const seen: Tensor[] = [];
    const read = [];
    for (const parameter of tape.play([loss], gpu.tensor(Float32Array.of(1), [1]))) {
      seen.push(parameter);
      read.push(gpu.recordRead([parameter.grad!]));
    }
    assertEquals(seen, [late, early, shared]);
    gpu.submit();
    const grads = [];
    for (const next of read) grads.push(new Float32Array((await next())[0]!)[0]);
    assertEquals(grads, [5, 3, 3]);
    assert(!unused.gradFilled);
  },
);
