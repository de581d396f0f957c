import { assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import { hostTensor } from "../model/host_tensor.ts";
import { matchWeights } from "../model/load_weights.ts";
import type { WeightFile } from "../model/weight_file.ts";

/** A file with zeros of these shapes. */
function fileOf(shapes: Record<string, number[]>): WeightFile {
  const tensors = Object.entries(shapes).map(([name, shape]) =>
    [name, hostTensor(name, shape, new Float32Array(shape.reduce((a, b) => a * b, 1)))] as const
  );
  return { tensors: new Map(tensors), metadata: {} };
}

const expected = new Map([["embed", [3, 2]], ["norm", [2]]]);
const tied = new Map([["head", "embed"]]);

Deno.test("weights come in the expected order, whatever the file's", () => {
  const file = fileOf({ norm: [2], head: [3, 2], "text_model.x": [1], embed: [3, 2] });
  const ignore = (name: string) => name.startsWith("text_model.");
  const matched = matchWeights(expected, file, { source: "a.pth", tied, ignore });
  assertEquals([...matched.keys()], ["embed", "norm"]);
  assertEquals(matched.get("embed")!.shape, [3, 2]);
});

Deno.test("a tied name serves where it alone is in the file", () => {
  const matched = matchWeights(expected, fileOf({ head: [3, 2], norm: [2] }), {
    source: "a",
    tied,
  });
  assertEquals([...matched].map(([name, tensor]) => [name, tensor.name]), [
    ["embed", "embed"],
    ["norm", "norm"],
  ]);
});

Deno.test("every missing, unexpected and misshapen tensor is listed", () => {
  const file = fileOf({ embed: [2, 3], extra: [1, 4], head: [3, 2, 1] });
  const error = assertThrows(
    () => matchWeights(expected, file, { source: "a.pth", tied }),
    FormatError,
  );
  assertEquals(error.message.split("\n  "), [
    "a.pth does not fit the model (4 differences):",
    "misshapen: embed is [2,3], but the model has [3,2]",
    "misshapen: head is [3,2,1], but the model has [3,2]",
    "missing: norm [2]",
    "unexpected: extra [1,4]",
  ]);
});
