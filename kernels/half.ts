import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import { HALF, type HalfDtype, isHalf } from "./runtime/precision.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

/** WGSL that stores four numbers `v` as element `i` of `y`. */
const STORE: Readonly<Record<HalfDtype, { enable: string; type: string; code: string }>> = {
  float16: { enable: "enable f16;", type: "vec4<f16>", code: "y[i] = vec4<f16>(v);" },
  bfloat16: {
    enable: "",
    type: "vec2u",
    code: `let bits = bitcast<vec4u>(round4_bfloat16(v));
    y[i] = (bits.xz >> vec2u(16u)) | bits.yw;`,
  },
};

function roundKernel(gpu: Gpu, dtype: HalfDtype): Kernel {
  const { enable, type, code } = STORE[dtype];
  return gpu.kernel(`round_to_${dtype}`, () =>
    `${enable}${HALF[dtype]}
struct Params { n: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let v = x[i];
    ${code}
  }`,
      )
    }`);
}

/**
 * Rounds float32 to half precision, to the nearest and ties to even, outside of the tape.
 *
 * @param x float32, a whole storage or a part of a multiple of four elements.
 * @param y float16, if the adapter has it, or bfloat16; of as many elements, likewise.
 */
export function roundToHalf(x: Tensor, y: Tensor): void {
  const { gpu, size } = x;
  const { dtype } = y;
  if (size !== y.size || x.dtype !== "float32" || !isHalf(dtype)) {
    throw new ShapeError(
      `roundToHalf: ${x.dtype} [${x.shape}] cannot become ${dtype} [${y.shape}].`,
    );
  }
  const n = Math.ceil(size / 4);
  gpu.run(roundKernel(gpu, dtype), [x, y], [n], Math.ceil(n / SIZE));
}
