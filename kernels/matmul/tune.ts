import { checkGrouped, groupedTrial } from "../experts/check.ts";
import { groupedKernels } from "../experts/choose.ts";
import type { GroupedShape } from "../experts/problem.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { timeCalls, timeMany } from "../runtime/timing.ts";
import { checkKernel, productTrial, toleranceOf, trialError } from "./check.ts";
import {
  type Choice,
  kernelName,
  type Kernels,
  kernelsFor,
  type ProductShape,
  type Tuning,
} from "./choose.ts";

/** A product of two matrices, or of the experts. */
export type TunedShape = ProductShape | GroupedShape;

/** The kernels that there are for a product. */
export function kernelsOf(gpu: Gpu, shape: TunedShape): Kernels {
  return "experts" in shape ? groupedKernels(gpu, shape) : kernelsFor(gpu, shape);
}

/** Whether a device can hold a product's operands and result; grouped ones have a right operand, or for `TN` a result, of each expert. */
export function holds(gpu: Gpu, shape: TunedShape): boolean {
  const { layout, m, n, k } = shape;
  const experts = "experts" in shape ? shape.experts : 1;
  const [right, result] = layout === "TN" ? [n * k, experts * m * n] : [experts * n * k, m * n];
  return 4 * Math.max(m * k, right, result) <= gpu.device.limits.maxStorageBufferBindingSize;
}

/** How long a kernel takes for a product. */
export interface Timed {
  /** The kernel. */
  readonly choice: Choice;
  /** Seconds of the best round. */
  readonly seconds: number;
}

/** What was found for a class of products. */
export interface TunedClass {
  /** See `Kernels.className`. */
  readonly name: string;
  /** The product that was measured. */
  readonly shape: TunedShape;
  /** What the rule chooses, unless it is wrong. */
  readonly rule?: Timed;
  /** What is chosen from now on. */
  readonly chosen: Timed;
}

/** A kernel that computes wrongly. */
export interface WrongKernel {
  /** See `Kernels.nameOf`. */
  readonly name: string;
  /** For which product, and by how much. */
  readonly reason: string;
}

/** How products are measured. */
export interface TuneOptions {
  /** Seconds of a kernel's round; 0.1 unless given. */
  readonly budget?: number;
  /** Rounds in which the kernels take turns; 5 unless given. */
  readonly rounds?: number;
  /** Part by which a kernel must take less time than the rule's to be preferred; 0.05 unless given. */
  readonly margin?: number;
  /** Hears of each class when a kernel has been chosen for it. */
  readonly onClass?: (tuned: TunedClass) => void;
  /** Ends the measuring after the class in progress. */
  readonly signal?: AbortSignal;
}

/** Everything that was found on a device. */
export interface TuneResult {
  /** What to use from now on, see `useTuning`. */
  readonly tuning: Tuning;
  /** What was measured. */
  readonly classes: readonly TunedClass[];
  /** Which kernels are wrong. */
  readonly wrong: readonly WrongKernel[];
}

/**
 * Measures for each class of some products which kernel is the fastest, among those that have been checked.
 *
 * Kernels are compared with float64 first, on small products of odd and even extents and on rows of the measured one. They
 * are timed in turns. One must be faster than the rule's by a margin, in its best round and in the median.
 *
 * @param shapes Products; of each class the first is measured.
 * @param random Numbers between 0 and 1.
 */
export async function tuneProducts(
  gpu: Gpu,
  shapes: Iterable<TunedShape>,
  random: () => number,
  options: TuneOptions = {},
): Promise<TuneResult> {
  const checks = new Checks(gpu, random);
  const classes = new Map<string, TunedClass>();
  for (const shape of shapes) {
    if (options.signal?.aborted) break;
    if (classes.has(kernelsOf(gpu, shape).className())) continue;
    const tuned = await tuneClass(gpu, shape, checks, options);
    if (!tuned) continue;
    classes.set(tuned.name, tuned);
    options.onClass?.(tuned);
  }
  const choices = Object.fromEntries(
    [...classes.values()].map(({ name, chosen }) => [name, chosen.choice]),
  );
  const wrong = checks.wrong;
  return {
    tuning: { choices, wrong: wrong.map(({ name }) => name) },
    classes: [...classes.values()],
    wrong,
  };
}

/** Checks the kernels that the rules choose for some products. */
export async function checkRules(
  gpu: Gpu,
  shapes: Iterable<TunedShape>,
  random: () => number,
): Promise<readonly WrongKernel[]> {
  const checks = new Checks(gpu, random);
  for (const shape of shapes) await checks.passes(kernelsOf(gpu, shape).rule, shape);
  return checks.wrong;
}

/** Which kernels of a device have been checked, and which are wrong. */
class Checks {
  readonly gpu: Gpu;
  readonly random: () => number;
  readonly #reasons = new Map<string, string | undefined>();

  constructor(gpu: Gpu, random: () => number) {
    this.gpu = gpu;
    this.random = random;
  }

  /** Whether a kernel is right, which is checked at its first use. */
  async passes(choice: Choice, shape: TunedShape): Promise<boolean> {
    const name = kernelsOf(this.gpu, shape).nameOf(choice);
    if (!this.#reasons.has(name)) {
      const check = "experts" in shape ? checkGrouped : checkKernel;
      this.#reasons.set(name, await check(this.gpu, choice, shape.precision, this.random));
    }
    return this.#reasons.get(name) === undefined;
  }

  /** Takes a kernel for wrong. */
  fail(choice: Choice, shape: TunedShape, reason: string): void {
    this.#reasons.set(kernelsOf(this.gpu, shape).nameOf(choice), reason);
  }

  /** The wrong ones. */
  get wrong(): WrongKernel[] {
    return [...this.#reasons].flatMap(([name, reason]) => reason ? [{ name, reason }] : []);
  }
}

/** A kernel in a race. */
interface Contestant {
  readonly choice: Choice;
  readonly run: () => void;
  readonly seconds: number[];
}

async function tuneClass(
  gpu: Gpu,
  shape: TunedShape,
  checks: Checks,
  options: TuneOptions,
): Promise<TunedClass | undefined> {
  using _scope = gpu.scope();
  const kernels = kernelsOf(gpu, shape);
  const { rule } = kernels, name = kernels.className();
  const trial = "experts" in shape
    ? groupedTrial(gpu, shape, checks.random)
    : productTrial(gpu, shape, checks.random);
  const expected = new Map([0, trial.rows >> 1, trial.rows - 1].map((i) => [i, trial.row(i)]));
  const race: Contestant[] = [];
  for (const choice of [rule, ...kernels.candidates().filter((one) => !same(one, rule))]) {
    if (!await checks.passes(choice, shape)) continue;
    const run = () => trial.run(choice);
    gpu.clear(trial.out);
    run();
    const error = await trialError(trial, expected);
    if (error <= toleranceOf(choice)) race.push({ choice, run, seconds: [] });
    else checks.fail(choice, shape, `${name} is off by ${error.toExponential(1)}`);
  }
  if (race.length === 0) return undefined;
  if (race.length > 1) await takeTurns(gpu, race, options);
  else await takeTurns(gpu, race, { budget: 0, rounds: 1 });
  const fastest = race.reduce((best, one) => least(one.seconds) < least(best.seconds) ? one : best);
  const ruled = race.find(({ choice }) => same(choice, rule));
  const part = 1 - (options.margin ?? 0.05);
  const better = !ruled ||
    [least, median].every((of) => of(fastest.seconds) < part * of(ruled.seconds));
  const timed = ({ choice, seconds }: Contestant): Timed => ({ choice, seconds: least(seconds) });
  return {
    name,
    shape,
    ...ruled && { rule: timed(ruled) },
    chosen: timed(better ? fastest : ruled),
  };
}

function same(a: Choice, b: Choice): boolean {
  const slices = (choice: Choice) => choice.family === "tiled" ? choice.slices ?? 1 : 1;
  return kernelName(a, "float32") === kernelName(b, "float32") && slices(a) === slices(b);
}

function least(values: readonly number[]): number {
  return Math.min(...values);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** How many times as long as the fastest a kernel may take before it is no longer timed. */
const FAR_BEHIND = 1.5;

/** Part of a round that tells how many calls it is to have. */
const TRIAL = 0.25;

/** Times kernels, which have been compiled, in turns. */
async function takeTurns(
  gpu: Gpu,
  race: readonly Contestant[],
  { budget = 0.1, rounds = 5 }: TuneOptions,
): Promise<void> {
  const callsOf = new Map<Contestant, number>();
  for (const one of race) {
    const { calls, seconds, elapsed } = await timeMany(gpu, one.run, TRIAL * budget);
    one.seconds.push(seconds);
    callsOf.set(one, Math.max(1, Math.ceil(calls * budget / elapsed)));
  }
  for (let round = 0; round < rounds; round++) {
    const best = least(race.map(({ seconds }) => least(seconds)));
    for (const one of race) {
      if (least(one.seconds) > FAR_BEHIND * best) continue;
      one.seconds.push((await timeCalls(gpu, one.run, callsOf.get(one)!)).seconds);
    }
  }
}
