import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../kernels/runtime/errors.ts";
import { Random } from "../model/random.ts";

const equal = (a: number[], b: number[]) => a.join() === b.join();
const draw = (random: Random, n = 8) => Array.from({ length: n }, () => random.uint32());

Deno.test("the sequence is xoshiro128**'s", () => {
  const random = new Random(0);
  random.restore([1, 2, 3, 4]);
  // By the authors' C program, https://prng.di.unimi.it/xoshiro128starstar.c
  assertEquals(draw(random), [
    11520,
    0,
    5927040,
    70819200,
    2031721883,
    1637235492,
    1287239034,
    3734860849,
  ]);
});

Deno.test("a seed gives one sequence, another seed another", () => {
  assertEquals(draw(new Random(42)), draw(new Random(42)));
  const firsts = new Set(Array.from({ length: 1000 }, (_, seed) => draw(new Random(seed), 1)[0]));
  assertEquals(firsts.size, 1000);
  assert(!equal(draw(new Random(1)), draw(new Random(2 ** 32 + 1))));
  assertThrows(() => new Random(-1), UsageError, "-1");
  assertThrows(() => new Random(1.5), UsageError, "1.5");
  assertThrows(() => new Random(2 ** 53), UsageError);
});

Deno.test("a state goes through JSON and goes on where it stood", () => {
  const random = new Random(7);
  random.normal();
  const state = JSON.parse(JSON.stringify(random.state()));
  const next = [random.float(), random.normal(), random.below(10)];
  const other = new Random(0);
  other.restore(state);
  assertEquals([other.float(), other.normal(), other.below(10)], next);
  for (const bad of [[], [1, 2, 3], [1, 2, 3, 4, 5], [0, 0, 0, 0], [1, 2, 3, -1], [1, 2, 3, 0.5]]) {
    assertThrows(() => random.restore(bad), UsageError, JSON.stringify(bad));
  }
});

Deno.test("a fork depends on state and label and moves nothing", () => {
  const random = new Random(3);
  const before = random.state();
  const fork = draw(random.fork("epoch 1"));
  assertEquals(random.state(), before);
  assertEquals(draw(random.fork("epoch 1")), fork);
  assert(!equal(draw(random.fork("epoch 2")), fork));
  assert(!equal(draw(new Random(4).fork("epoch 1")), fork));
  assertEquals(draw(random.fork(1)), draw(random.fork("1")));
});

Deno.test("floats are uniform in [0, 1)", () => {
  const random = new Random(5);
  const bins = new Array(10).fill(0);
  for (let i = 0; i < 100_000; i++) {
    const x = random.float();
    assert(x >= 0 && x < 1);
    bins[Math.floor(x * 10)]++;
  }
  for (const count of bins) assertAlmostEquals(count / 10_000, 1, 0.05);
});

Deno.test("normals have mean 0, variance 1 and kurtosis 3", () => {
  const random = new Random(6);
  const xs = Float64Array.from({ length: 100_000 }, () => random.normal());
  const moment = (power: number) => xs.reduce((sum, x) => sum + x ** power, 0) / xs.length;
  assertAlmostEquals(moment(1), 0, 0.02);
  assertAlmostEquals(moment(2), 1, 0.03);
  assertAlmostEquals(moment(4), 3, 0.2);
});

Deno.test("numbers below n are all as likely", () => {
  const random = new Random(8);
  const counts = new Array(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[random.below(7)]++;
  for (const count of counts) assertAlmostEquals(count / 10_000, 1, 0.05);
  // At 3·2^30 a remainder alone would draw the lowest third of the numbers twice as often.
  const low = Array.from({ length: 30_000 }, () => random.below(3 * 2 ** 30)).filter((x) =>
    x < 2 ** 30
  );
  assertAlmostEquals(low.length / 10_000, 1, 0.05);
  assertEquals(random.below(1), 0);
  assert(random.below(2 ** 32) >= 0);
  for (const n of [0, -1, 1.5, NaN, 2 ** 32 + 1]) assertThrows(() => random.below(n), UsageError);
});

Deno.test("a shuffle keeps everything and reaches every order", () => {
  const random = new Random(9);
  const orders = new Map<string, number>();
  for (let i = 0; i < 24_000; i++) {
    const key = random.shuffle([0, 1, 2, 3]).join("");
    orders.set(key, (orders.get(key) ?? 0) + 1);
  }
  assertEquals(orders.size, 24);
  for (const [order, count] of orders) {
    assertEquals([...order].sort(), ["0", "1", "2", "3"]);
    assertAlmostEquals(count / 1000, 1, 0.15);
  }
  assertEquals(random.shuffle(new Uint32Array(3)).length, 3);
});
