import type { AdapterInfo } from "./adapter.ts";
import type { Gpu } from "./gpu.ts";

/**
 * The entry point of a kernel: a workgroup of `size` invocations in one dimension.
 *
 * In `body` stand `lane` (this invocation in its workgroup), `group` (the workgroup's number with folded dimensions put
 * together), and `workgroup` (its number as dispatched, a `vec3u`). A body guards its loads and stores and never returns.
 */
export function entry({ info }: Gpu, size: number, body: string): string {
  // Software adapters compute local ids by vector divisions; subgroup ids are free there.
  const lanes = info.software && info.subgroupSize > 0;
  const parameters = lanes
    ? "@builtin(subgroup_id) sg: u32, @builtin(subgroup_invocation_id) sgi: u32"
    : "@builtin(local_invocation_index) lane: u32";
  return `
@compute @workgroup_size(${size}) fn main(${parameters},
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  ${lanes ? `let lane = sg * ${info.subgroupSize}u + sgi;` : ""}
  let group = workgroup.y * workgroups.x + workgroup.x;
  ${body}
}`;
}

/** Invocations that share a row in kernels that reduce rows: one subgroup on the processor, where barriers are dear. */
export function rowLanes(info: AdapterInfo): number {
  return info.software ? info.subgroupSize || 8 : 128;
}

/**
 * Functions that reduce a float over a workgroup and give every invocation the result: `sumOver(x, lane)`, `maxOver(x, lane)`.
 * Must be called in uniform control flow.
 *
 * @param size Invocations of the workgroup.
 * @param lanes Those that share a result, with `lane` counted among them. Where the workgroup has several times as many, the
 *   kernel sets the private variable `line` to the number of an invocation's share.
 */
export function reductions({ info }: Gpu, size: number, lanes = size): string {
  const line = lanes < size ? "var<private> line: u32;" : "";
  const { software, subgroupSize } = info;
  if (subgroupSize === lanes) {
    return `${line}
fn sumOver(x: f32, lane: u32) -> f32 { return subgroupAdd(x); }
fn maxOver(x: f32, lane: u32) -> f32 { return subgroupMax(x); }`;
  }
  // a subgroup of a graphics card, whose invocations follow each other, reduces first what it has
  const joined = !software && subgroupSize > 0 && lanes % subgroupSize === 0 ? subgroupSize : 1;
  const parts = lanes / joined;
  const last = parts > 16 ? 2 ** Math.ceil(Math.log2(parts) / 2) : parts;
  const combined = (combine: string, places: string[]) =>
    places.slice(1).map((place) => `{ let b = partial[${place}]; a = ${combine}; }`).join(" ");
  const every = (n: number, step: number, from: string) =>
    range(n).map((k) => `${from} + ${k * step}u`);
  const reduction = (name: string, combine: string, bySubgroup: string) => `
fn ${name}(x: f32, lane: u32) -> f32 {
  let start = ${line ? `line * ${parts}u` : "0u"};
  var a = ${joined > 1 ? `${bySubgroup}(x)` : "x"};
  workgroupBarrier();
  ${
    joined > 1
      ? `if (lane % ${joined}u == 0u) { partial[start + lane / ${joined}u] = a; }`
      : "partial[start + lane] = a;"
  }
  workgroupBarrier();
  ${
    last < parts
      ? `if (lane < ${last}u) {
    a = partial[start + lane];
    ${combined(combine, every(parts / last, last, "start + lane"))}
    partial[start + lane] = a;
  }
  workgroupBarrier();`
      : ""
  }
  a = partial[start];
  ${combined(combine, every(last, 1, "start"))}
  return a;
}`;
  return `${line}
var<workgroup> partial: array<f32, ${size / joined}>;` +
    reduction("sumOver", "a + b", "subgroupAdd") +
    reduction("maxOver", "max(a, b)", "subgroupMax");
}

/** WGSL that sets a place, or adds to it where the parameter `accumulate` says so. */
export function setOrAdd(place: string, value: string): string {
  return `if (p.accumulate == 1u) { ${place} += ${value}; } else { ${place} = ${value}; }`;
}

/** A shader as the device compiles it: with the line that its use of subgroups needs, where that is asked for. */
export function compilable(code: string, { declaresSubgroups }: AdapterInfo): string {
  return declaresSubgroups && /\b(subgroup|quad)[A-Z_]/.test(code)
    ? `enable subgroups;\n${code}`
    : code;
}

/** The numbers from 0 below `n`, for code that is unrolled. */
export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}
