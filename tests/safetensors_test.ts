import { assert, assertEquals, assertRejects } from "@std/assert";
import safetensors from "safetensors";
import { FormatError, GlimpseError, ShapeError } from "../kernels/runtime/errors.ts";
import { blobSource, bytesSource } from "../model/bytes.ts";
import { hostTensor } from "../model/host_tensor.ts";
import { readSafetensors, safetensorsChunks } from "../model/safetensors.ts";
import { readSharded } from "../model/sharded.ts";
import {
  assertTensors,
  breakEverywhere,
  collect,
  everyKind,
  readAll,
} from "./support/weight_files.ts";

/** A file with this header and so many bytes of tensors. */
function fileOf(header: unknown, dataLength: number): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const file = new Uint8Array(8 + json.length + dataLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

const open = (bytes: Uint8Array) => readSafetensors(bytesSource("test.safetensors", bytes));

Deno.test("safetensors: what is written reads back, aligned, with its remarks", async () => {
  const tensors = everyKind();
  const bytes = await collect(safetensorsChunks(tensors, { format: "pt", __proto__x: "é" }));
  const file = await open(bytes);
  await assertTensors(file, tensors);
  assertEquals(file.metadata, { format: "pt", __proto__x: "é" });
  await assertTensors(await readSafetensors(blobSource("blob", new Blob([bytes]))), tensors);
  assertEquals(new DataView(bytes.buffer).getUint32(0, true) % 8, 0);
  assertEquals((await open(await collect(safetensorsChunks([])))).tensors.size, 0);
});

Deno.test("safetensors: the npm package reads what is written", async () => {
  const tensors = everyKind();
  const bytes = await collect(safetensorsChunks(tensors));
  const theirs = new safetensors.SafeTensor(bytes);
  for (const tensor of tensors) {
    assertEquals(theirs.metadata.get(tensor.name).shape, tensor.shape);
    assertEquals(new Uint8Array(theirs.getTensor(tensor.name)), await tensor.read());
  }
});

Deno.test("safetensors: a file cut off or changed anywhere is refused or read, no more", async () => {
  const bytes = await collect(safetensorsChunks(everyKind().slice(1, 4), { format: "pt" }));
  const refused = await breakEverywhere(bytes, async (broken) => await readAll(await open(broken)));
  assert(refused > 100, `${refused} refused`);
});

Deno.test("safetensors: every broken header is refused by what is wrong with it", async () => {
  const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
    dtype: "F32",
    shape,
    data_offsets: [begin, end],
  });
  const cases: [unknown, number, string][] = [
    [{ a: f32(0, 8), b: f32(4, 12) }, 12, "overlap"],
    [{ a: f32(0, 4), b: f32(8, 12) }, 12, "hole"],
    [{ a: f32(4, 8) }, 8, "hole"],
    [{ a: f32(0, 4) }, 8, "describes"],
    [{ a: f32(0, 8) }, 4, "byte range"],
    [{ a: f32(8, 0, [0]) }, 8, "range [8,0]"],
    [{ a: f32(-4, 0, [1]) }, 0, "byte range"],
    [{ a: f32(0, 4, [2]) }, 4, "takes 8 bytes"],
    [{ a: f32(0, 4, [1.5]) }, 4, "shape"],
    [{ a: f32(0, 4, [-1, -1]) }, 4, "shape"],
    [{ a: f32(0, 4, [2 ** 40, 2 ** 40]) }, 4, "shape"],
    [{ a: f32(0, 4, "1") }, 4, "shape"],
    [{ a: { ...f32(0, 4), dtype: "F8_E4M3" } }, 4, "F8_E4M3"],
    [{ a: { ...f32(0, 4), dtype: "__proto__" } }, 4, "__proto__"],
    [{ a: { ...f32(0, 4), data_offsets: [0, 4, 8] } }, 4, "byte range"],
    [{ a: [] }, 0, "not described by an object"],
    [{ __metadata__: { a: 1 } }, 0, "__metadata__"],
    [[], 0, "not an object"],
    [
      '{"a":' + JSON.stringify(f32(0, 4)) + ',"\\u0061":' + JSON.stringify(f32(0, 4)) + "}",
      4,
      '"a"',
    ],
    ['{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4, '"dtype"'],
    ['{"a":', 0, "valid JSON"],
    ["[".repeat(1e6), 0, "valid JSON"],
  ];
  for (const [header, length, message] of cases) {
    await assertRejects(() => open(fileOf(header, length)), FormatError, message);
  }
  await assertRejects(() => open(new Uint8Array(8).fill(0xff)), FormatError, "header would be");
  await assertRejects(() => open(new Uint8Array(3)), FormatError, "truncated");
  const text = fileOf({}, 0);
  text[8] = 0xff;
  await assertRejects(() => open(text), FormatError, "not UTF-8");
});

Deno.test("safetensors: equal names and tensors of another size are not written", async () => {
  const tensor = hostTensor("w", [1], new Float32Array(1));
  await assertRejects(() => collect(safetensorsChunks([tensor, tensor])), GlimpseError, "name w");
  const short = { ...tensor, shape: [2] };
  await assertRejects(() => collect(safetensorsChunks([short])), ShapeError, "takes 8 bytes");
});

Deno.test("sharded weights are read by their index, which must agree with its files", async () => {
  const tensors = everyKind();
  const shards = new Map([
    ["a-00001.safetensors", await collect(safetensorsChunks(tensors.slice(0, 5)))],
    ["a-00002.safetensors", await collect(safetensorsChunks(tensors.slice(5)))],
  ]);
  const map = Object.fromEntries(
    tensors.map(({ name }, i) => [name, [...shards.keys()][i < 5 ? 0 : 1]]),
  );
  const read = (index: unknown) =>
    readSharded(
      bytesSource("index.json", new TextEncoder().encode(JSON.stringify(index))),
      (file) => open(shards.get(file)!),
    );
  const file = await read({ metadata: { total_size: 7 }, weight_map: map });
  await assertTensors(file, tensors);
  assertEquals(file.metadata, { total_size: "7" });
  const { scalar: _, ...fewer } = map;
  const cases: [unknown, string][] = [
    [{}, "no weight_map"],
    [{ weight_map: { ...map, other: "a-00001.safetensors" } }, "other"],
    [{ weight_map: { ...map, scalar: "a-00001.safetensors" } }, "scalar"],
    [{ weight_map: fewer }, "scalar"],
    [{ weight_map: { ...map, scalar: "../secret" } }, "../secret"],
    [{ weight_map: { ...map, scalar: ".." } }, ".."],
    [{ weight_map: { ...map, scalar: 1 } }, "into 1"],
  ];
  for (const [index, message] of cases) {
    await assertRejects(() => read(index), FormatError, message);
  }
});
