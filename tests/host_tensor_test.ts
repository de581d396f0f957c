import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FormatError, ShapeError } from "../kernels/runtime/errors.ts";
import { float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../model/half.ts";
import {
  fromFloat32,
  type HostDtype,
  hostTensor,
  readFinite,
  toFloat32,
} from "../model/host_tensor.ts";
import { DTYPES } from "./support/weight_files.ts";

/** Every float32 whose lower bits are one of a few patterns: all exponents, ties and neighbours. */
function manyFloats(): Float32Array<ArrayBuffer> {
  const lows = [
    0,
    1,
    0xfff,
    0x1000,
    0x1001,
    0x1fff,
    0x2000,
    0x3000,
    0x7fff,
    0x8000,
    0x8001,
    0xffff,
  ];
  const words = new Uint32Array(65536 * lows.length);
  for (let high = 0; high < 65536; high++) {
    lows.forEach((low, i) => words[high * lows.length + i] = high << 16 | low);
  }
  return new Float32Array(words.buffer);
}

Deno.test("half precision rounds as the platform's own Float16Array", () => {
  const values = manyFloats();
  const expected = new Uint16Array(new Float16Array(values).buffer);
  const bits = float32ToFloat16(values);
  for (let i = 0; i < bits.length; i++) {
    const same = Number.isNaN(values[i]!)
      ? (bits[i]! & 0x7fff) === 0x7e00
      : bits[i] === expected[i];
    assert(same, `${values[i]}: ${bits[i]}, not ${expected[i]}`);
  }
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  assertEquals(float16ToFloat32(all), new Float32Array(new Float16Array(all.buffer)));
});

Deno.test("bfloat16 rounds to the nearest, ties to even, and keeps infinity and NaN", () => {
  const values = new Uint32Array([
    0x3f800000,
    0x3f807fff,
    0x3f808000,
    0x3f808001,
    0x3f818000,
    0x7f7fffff,
    0xff800000,
    0x7f800001,
    0x00000001,
    0x80000000,
  ]);
  assertEquals(
    [...float32ToBfloat16(new Float32Array(values.buffer))],
    [0x3f80, 0x3f80, 0x3f80, 0x3f81, 0x3f82, 0x7f80, 0xff80, 0x7fc0, 0, 0x8000],
  );
});

Deno.test("every kind of number keeps what it can hold", () => {
  const values = new Float32Array([0, 1, 100, -3, 2.75, -(2 ** 40)]);
  const held: Record<HostDtype, number[]> = {
    float64: [...values],
    float32: [...values],
    float16: [0, 1, 100, -3, 2.75, -Infinity],
    bfloat16: [...values],
    int64: [0, 1, 100, -3, 2, -(2 ** 40)],
    int32: [0, 1, 100, -3, 2, 0],
    int16: [0, 1, 100, -3, 2, 0],
    int8: [0, 1, 100, -3, 2, 0],
    uint8: [0, 1, 100, 253, 2, 0],
    uint32: [0, 1, 100, Math.fround(2 ** 32 - 3), 2, 0],
    bool: [0, 1, 1, 1, 1, 1],
  };
  for (const dtype of DTYPES) {
    const bytes = fromFloat32(values, dtype);
    assertEquals([...toFloat32(bytes, dtype)], held[dtype], dtype);
    const shifted = new Uint8Array(bytes.length + 1); // stands unaligned
    shifted.set(bytes, 1);
    assertEquals([...toFloat32(shifted.subarray(1), dtype)], held[dtype], `${dtype}, unaligned`);
  }
});

Deno.test("sizes that do not fit are refused", () => {
  assertThrows(() => toFloat32(new Uint8Array(6), "float32"), ShapeError, "6 bytes");
  assertThrows(() => hostTensor("w", [2, 3], new Float32Array(5)), ShapeError, "[2,3]");
});

Deno.test("numbers that are not finite are counted and refused, in every kind that has them", async () => {
  const values = new Float32Array([1, NaN, -Infinity, 2]);
  for (const dtype of ["float64", "float32", "float16", "bfloat16"] as const) {
    const sound = hostTensor("w", [2], new Float32Array([1, -65504]), dtype);
    assertEquals((await readFinite(sound, "a.pth")).length, 2);
    await assertRejects(
      () => readFinite(hostTensor("w", [4], values, dtype), "a.pth"),
      FormatError,
      "a.pth cannot be used: w holds NaN or infinity (2 of its 4 numbers).",
    );
  }
});
