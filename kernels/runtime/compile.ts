import type { AdapterInfo } from "./adapter.ts";
import type { Kernel } from "./kernel.ts";
import { compilable } from "./wgsl.ts";

/** A kernel as a device has compiled it. */
export interface CompiledKernel {
  /** What it was compiled from. */
  readonly kernel: Kernel;
  /** What a pass is given. */
  readonly pipeline: GPUComputePipeline;
  /** What its bindings must be. */
  readonly layout: GPUBindGroupLayout;
  /** The same, one by one. */
  readonly entries: readonly GPUBindGroupLayoutEntry[];
}

/** A kernel that is about to be compiled. */
export interface Compiling {
  /** Its name. */
  readonly name: string;
  /** Its number, from 1. */
  readonly number: number;
  /** How many are compiled together, where that is known. */
  readonly of?: number;
}

/** Compiles a kernel, as far as the device does that before its first dispatch. */
export function compileKernel(
  device: GPUDevice,
  kernel: Kernel,
  info: AdapterInfo,
): CompiledKernel {
  const { name: label } = kernel;
  const code = compilable(kernel.code, info);
  const module = device.createShaderModule({ label, code });
  const entries = bindingsOf(code);
  const layout = device.createBindGroupLayout({ label, entries });
  const pipeline = device.createComputePipeline({
    label,
    layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: "main" },
  });
  return { kernel, pipeline, layout, entries };
}

/** The bindings that WGSL declares. Uniforms are found by an offset that is given with each dispatch. */
export function bindingsOf(code: string): GPUBindGroupLayoutEntry[] {
  const declared = code.matchAll(
    /@group\(0\) @binding\((\d+)\) var(?:<(\w+)(?:, (\w+))?>)? \w+: (\w+)(?:<(\w+)(?:, (\w+))?>)?/g,
  );
  return [...declared].map(([, binding, space, access, type, format, mode]) => ({
    binding: Number(binding),
    visibility: GPUShaderStage.COMPUTE,
    ...space === "uniform"
      ? { buffer: { type: "uniform", hasDynamicOffset: true } }
      : space === "storage"
      ? { buffer: { type: access === "read_write" ? "storage" : "read-only-storage" } }
      : type === "texture_storage_2d"
      ? {
        storageTexture: {
          format: format as GPUTextureFormat,
          access: `${mode}-only` as GPUStorageTextureAccess,
        },
      }
      : { texture: { sampleType: "unfilterable-float" } },
  }));
}
