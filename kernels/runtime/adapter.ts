import { DeviceError } from "./errors.ts";

/** What is known of an adapter that kernels and reports care about. */
export interface AdapterInfo {
  /** Vendor, name and driver as the browser or Deno tells them. */
  readonly name: string;
  /** Whether it computes on the processor. */
  readonly software: boolean;
  /** Lanes of a subgroup when that number is fixed and subgroups can be used, else 0. */
  readonly subgroupSize: number;
  /** Whether shaders that use subgroups must say so; browsers want that, Deno refuses the word. */
  readonly declaresSubgroups: boolean;
  /** Whether an invocation has but 128 registers, as on Intel's cards: sums by tiles of 128 do not fit. */
  readonly fewRegisters: boolean;
  /** Whether shaders may use half precision. */
  readonly float16: boolean;
  /** Whether kernels can be timed. */
  readonly timestamps: boolean;
}

/** Features that are used when the adapter has them. */
const WANTED = ["timestamp-query", "shader-f16", "subgroups"];

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|software|basic render/i;
const INTEL = /\bintel\b/i;

function nameOf({ info }: GPUAdapter): string {
  const parts = [info.vendor, info.architecture, info.device, info.description];
  return info.description || parts.filter(Boolean).join(" ") || "unnamed adapter";
}

/** The adapters that this system offers, the preferred one first. */
export async function listAdapters(): Promise<GPUAdapter[]> {
  if (!navigator.gpu) {
    throw new DeviceError(
      "There is no WebGPU here. Use Deno 2.9 or newer, or a browser that has it.",
    );
  }
  const requests: GPURequestAdapterOptions[] = [
    { powerPreference: "high-performance" },
    { powerPreference: "low-power" },
    { forceFallbackAdapter: true },
  ];
  const found = new Map<string, GPUAdapter>();
  for (const request of requests) {
    const adapter = await navigator.gpu.requestAdapter(request);
    if (adapter && !found.has(nameOf(adapter))) found.set(nameOf(adapter), adapter);
  }
  return [...found.values()];
}

/**
 * Chooses an adapter.
 *
 * @param device `gpu` for the best one, `software` for one on the processor, or a piece of a name. `cuda:0`, `cuda` and `mps`, as the original spells it, mean `gpu`; `cpu` means `software`.
 */
export async function chooseAdapter(device: string): Promise<GPUAdapter> {
  const adapters = await listAdapters();
  const names = adapters.map((adapter) => `"${nameOf(adapter)}"`).join(", ");
  if (adapters.length === 0) {
    throw new DeviceError(
      "No graphics adapter was found. Install your GPU's Vulkan driver (Windows and macOS need nothing), " +
        "or Mesa's software one, which ./setup.sh does.",
    );
  }
  const wanted = device.toLowerCase();
  if (/^(gpu|cuda(:0)?|mps)$/.test(wanted)) return adapters[0]!;
  const software = /^(software|cpu)$/.test(wanted);
  const match = adapters.find((adapter) =>
    software ? isSoftware(adapter) : nameOf(adapter).toLowerCase().includes(wanted)
  );
  if (!match) throw new DeviceError(`No adapter answers to "${device}". There is: ${names}.`);
  return match;
}

function isSoftware(adapter: GPUAdapter): boolean {
  const { isFallbackAdapter } = adapter.info as GPUAdapterInfo & { isFallbackAdapter?: boolean };
  return isFallbackAdapter === true || SOFTWARE.test(nameOf(adapter));
}

/** Opens a device with all that its adapter allows. */
export async function openDevice(adapter: GPUAdapter): Promise<[GPUDevice, AdapterInfo]> {
  const requiredLimits: Record<string, number> = {};
  for (const key in adapter.limits) {
    const value = adapter.limits[key as keyof GPUSupportedLimits];
    if (typeof value === "number") requiredLimits[key] = value;
  }
  const features = WANTED.filter((name) =>
    name === "subgroups" || adapter.features.has(name as GPUFeatureName)
  );
  const attempts = [features, features.filter((name) => name !== "subgroups")];
  let refusal: unknown;
  for (const attempt of attempts) {
    try {
      const requiredFeatures = attempt as GPUFeatureName[];
      const device = await adapter.requestDevice({
        requiredFeatures,
        requiredLimits,
        label: "glimpse",
      });
      return [device, describe(adapter, attempt)];
    } catch (error) {
      refusal = error;
    }
  }
  throw new DeviceError(`The adapter "${nameOf(adapter)}" gave no device: ${refusal}.`);
}

function describe(adapter: GPUAdapter, features: readonly string[]): AdapterInfo {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info as GPUAdapterInfo & {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
  };
  const fixed = subgroupMinSize === subgroupMaxSize ? subgroupMinSize ?? 0 : 0;
  return {
    name: nameOf(adapter),
    software: isSoftware(adapter),
    subgroupSize: features.includes("subgroups") ? fixed : 0,
    // Deno grants the feature without naming it
    declaresSubgroups: features.includes("subgroups") &&
      adapter.features.has("subgroups" as GPUFeatureName),
    fewRegisters: INTEL.test(nameOf(adapter)),
    float16: features.includes("shader-f16"),
    timestamps: features.includes("timestamp-query"),
  };
}
