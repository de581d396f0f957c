import { assertEquals } from "@std/assert";
import { compilable, entry, reductions } from "../kernels/runtime/wgsl.ts";
import { gpuTest } from "./support/gpu.ts";

gpuTest("a shader with subgroups says so where that is asked for, and only there", (gpu) => {
  const browser = { ...gpu.info, declaresSubgroups: true };
  const lanes = { info: { ...browser, software: true, subgroupSize: 8 } } as typeof gpu;
  const [byIds, bySum] = [entry(lanes, 8, "_ = lane;"), reductions(lanes, 8)];
  for (const code of [byIds, bySum, `enable f16;\n${bySum}`]) {
    assertEquals(compilable(code, browser), `enable subgroups;\n${code}`);
    assertEquals(compilable(code, { ...browser, declaresSubgroups: false }), code);
  }
  const plain = { info: { ...browser, software: false, subgroupSize: 0 } } as typeof gpu;
  const code = entry(plain, 64, "_ = lane; // of no subgroup") + reductions(plain, 64);
  assertEquals(compilable(code, browser), code);
  return Promise.resolve();
});
