import type { Gpu } from "./gpu.ts";

const TEXTURES = new WeakMap<Gpu, Map<string, GPUTexture>>();

/** The device's texture of that name through which kernels pass `rgba32float` texels on, one after another; it grows as needed. */
export function namedTexture(gpu: Gpu, name: string, width: number, height: number): GPUTexture {
  let named = TEXTURES.get(gpu);
  if (!named) TEXTURES.set(gpu, named = new Map());
  let texture = named.get(name);
  if (!texture || texture.width < width || texture.height < height) {
    if (texture) gpu.freeTexture(texture);
    texture = gpu.device.createTexture({
      size: [Math.max(width, texture?.width ?? 0), Math.max(height, texture?.height ?? 0)],
      format: "rgba32float",
      usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
      label: name,
    });
    named.set(name, texture);
  }
  return texture;
}
