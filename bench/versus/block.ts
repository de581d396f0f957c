/** What both sides of `versus_js.ts` compute: one MiniMind block, its last norm and its head, trained by AdamW. */
import { Random } from "../../model/random.ts";

/** Rows of a step. */
export interface BlockShape {
  readonly sequences: number;
  readonly length: number;
}

/** Shapes of MiniMind 26M. */
export const [WIDTH, INNER, VOCABULARY, HEADS, KV_HEADS, HEAD_DIM] = [512, 1408, 6400, 8, 2, 64];
/** Constants of AdamW and the norms. */
export const ADAMW = {
  rate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0.01,
} as const;
export const NORM_EPS = 1e-5;
export const ROPE_THETA = 1e6;

/** The parameters' shapes by name, [outputs, inputs] of the linear ones. */
export const SHAPES = {
  norm1: [WIDTH],
  qkv: [(HEADS + 2 * KV_HEADS) * HEAD_DIM, WIDTH],
  out: [WIDTH, WIDTH],
  norm2: [WIDTH],
  gateUp: [2 * INNER, WIDTH],
  down: [WIDTH, INNER],
  norm3: [WIDTH],
  head: [VOCABULARY, WIDTH],
} as const;

/** A parameter's name. */
export type Name = keyof typeof SHAPES;
/** All of their names. */
export const NAMES = Object.keys(SHAPES) as Name[];

/** The values with which both begin. */
export function initialValues(): Record<Name, Float32Array<ArrayBuffer>> {
  const random = new Random(3);
  const draw = (name: Name) => {
    const shape: readonly number[] = SHAPES[name];
    const length = shape.reduce((a, b) => a * b);
    return Float32Array.from(
      { length },
      () => shape.length === 1 ? 1 + 0.1 * random.float() : 0.08 * (random.float() - 0.5),
    );
  };
  return Object.fromEntries(NAMES.map((name) => [name, draw(name)])) as Record<
    Name,
    Float32Array<ArrayBuffer>
  >;
}

/** Embedded rows, and the token that each is to predict. */
export function initialBatch({ sequences, length }: BlockShape): {
  x: Float32Array<ArrayBuffer>;
  targets: Uint32Array<ArrayBuffer>;
} {
  const random = new Random(4);
  const rows = sequences * length;
  return {
    x: Float32Array.from({ length: rows * WIDTH }, () => random.float() - 0.5),
    targets: Uint32Array.from({ length: rows }, () => Math.floor(random.float() * VOCABULARY)),
  };
}
