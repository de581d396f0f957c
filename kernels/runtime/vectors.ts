/** How a kernel reads rows of float32: four numbers at a time where their width allows it. */
export interface Vectors {
  /** Numbers read at a time, 4 or 1. Kernel keys must name it. */
  readonly size: 4 | 1;
  /** WGSL: the type `T` of what is read; `total(v)` and `largest(v)`, the sum and the largest of its numbers. */
  readonly code: string;
}

const FOUR: Vectors = {
  size: 4,
  code: `alias T = vec4f;
fn total(v: T) -> f32 { return dot(v, vec4f(1.0)); }
fn largest(v: T) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }`,
};

const ONE: Vectors = {
  size: 1,
  code: `alias T = f32;
fn total(v: T) -> f32 { return v; }
fn largest(v: T) -> f32 { return v; }`,
};

/** How to read rows of `width` numbers. Several widths: what suits all of them. */
export function vectors(...widths: readonly number[]): Vectors {
  return widths.every((width) => width % 4 === 0) ? FOUR : ONE;
}
