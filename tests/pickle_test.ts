import { assert, assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import { bytesSource } from "../model/bytes.ts";
import { unpickle } from "../model/pickle.ts";
import { readPth } from "../model/pth.ts";
import { PTH_GLOBALS } from "../model/pth_tensors.ts";
import { zipChunks } from "../model/zip_writer.ts";
import { collect } from "./support/weight_files.ts";

/** Bytes of texts (one byte a character) and numbers. */
function bytesOf(...parts: (string | number)[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "number" ? [part] : [...part].map((c) => c.charCodeAt(0))
    ),
  );
}

const load = (pickle: Uint8Array) =>
  unpickle(pickle, 0, { name: "test", globals: PTH_GLOBALS, persistent: () => null });

/** Reads a checkpoint with this pickle and one storage of 4 floats, named 0. */
async function loadPth(...pickle: (string | number)[]): Promise<unknown> {
  const file = (name: string, bytes: Uint8Array<ArrayBuffer>) => ({
    name: `a/${name}`,
    read: () => Promise.resolve(bytes),
  });
  const archive = [file("data.pkl", bytesOf(...pickle)), file("data/0", new Uint8Array(16))];
  return await readPth(bytesSource("a.pth", await collect(zipChunks(archive))));
}

const STORAGE = "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ";
const REBUILD = "ctorch._utils\n_rebuild_tensor_v2\n";
const HOOKS = "\x89ccollections\nOrderedDict\n)R";
/** A tensor with this offset, shape and strides, each as pickle operations. */
const tensor = (offset: string, shape: string, strides: string) =>
  `${REBUILD}(${STORAGE}${offset}${shape}${strides}${HOOKS}tR.`;

Deno.test("pickle: the operations of protocols 2 to 5 give their values", () => {
  const cases: [(string | number)[], unknown][] = [
    [["\x80\x02N."], null],
    [["\x80\x05\x95\0\0\0\0\0\0\0\0\x88."], true],
    [["J\xff\xff\xff\xff."], -1],
    [["M\xff\xff."], 65535],
    [["\x8a\0."], 0],
    [["\x8a\x01\xff."], -1],
    [["\x8a\x08\0\0\0\0\0\0\0\x80."], -(2n ** 63n)],
    [["G\x3f\xf8\0\0\0\0\0\0."], 1.5],
    [["(K\x01K\x02t."], [1, 2]],
    [["K\x01\x85."], [1]],
    [["K\x01K\x02\x86."], [1, 2]],
    [["K\x01K\x02K\x03\x87."], [1, 2, 3]],
    [["](K\x01K\x02eK\x03a."], [1, 2, 3]],
    [["(K\x01K\x02l."], [1, 2]],
    [["}U\x01aK\x01s(K\x02Nu."], new Map<unknown, unknown>([["a", 1], [2, null]])],
    [["]q\x05h\x05r\0\0\x01\0j\0\0\x01\0\x86."], [[], []]],
    [["(K\x01K\x021N."], null],
    [["K\x01N0."], 1],
    [["C\x02\0\xff."], new Uint8Array([0, 255])],
    [["ccollections\nOrderedDict\n]K\x01K\x02\x86a\x85R."], new Map([[1, 2]])],
    [["ccollections\nOrderedDict\n)R}b."], new Map()],
  ];
  for (const [pickle, value] of cases) {
    assertEquals(load(bytesOf(...pickle)).value, value, String(pickle));
  }
  assertEquals(load(bytesOf("N.rest")).end, 2);
});

Deno.test("pickle: whatever is wrong with one is a FormatError", () => {
  const cases: [string, string][] = [
    [".", "empty"],
    ["(.", "empty"],
    ["N(0.", "empty"],
    ["a.", "empty"],
    ["t.", "mark"],
    ["1.", "mark"],
    ["h\x05.", "kept as 5"],
    ["\x80\x06.", "protocol"],
    ["\x01", "0x1"],
    ["Na.", "empty"],
    ["NNa.", "not a list"],
    ["}Na.", "not a list"],
    ["]NNs.", "not a dictionary"],
    ["}(Nu.", "value is missing"],
    ["N)R.", "not a function"],
    ["ctorch\nFloatStorage\n)R.", "not a function"],
    ["ccollections\nOrderedDict\nNR.", "not a function"],
    ["ccollections\nOrderedDict\nN\x85R.", "OrderedDict"],
    ["ccollections\nOrderedDict\n]Na\x85R.", "OrderedDict"],
    ["]}b.", "attributes"],
    ["ccollections\nOrderedDict\n}b.", "attributes"],
    ["c__builtin__\neval\n.", "__builtin__.eval"],
    ["cos\nsystem\n.", "os.system"],
    ["c__proto__\nconstructor\n.", "__proto__.constructor"],
    ["\x8c\x05posix\x8c\x06system\x93.", "posix.system"],
    ["]]\x93.", "not a text"],
    ["ctorch", "truncated"],
    ["X\xff\xff\xff\xffabc.", "truncated"],
    ["B\xff\xff\xff\x7fabc.", "truncated"],
    ["\x8a\xff.", "truncated"],
    ["X\x01\0\0\0\xff.", "UTF-8"],
    ["N", "truncated"],
    ["", "truncated"],
  ];
  for (const [pickle, message] of cases) {
    assertThrows(() => load(bytesOf(pickle)), FormatError, message);
  }
  assertThrows(() => load(bytesOf("]".repeat(2_000_001))), FormatError, "too many");
  assertThrows(() => load(bytesOf("(".repeat(2_000_001))), FormatError, "too many");
});

Deno.test("pickle: keys named like JavaScript's own change nothing", async () => {
  const value = await loadPth("}X\x09\0\0\0__proto__}X\x01\0\0\0aK\x01ss.");
  assert(value instanceof Map && value.has("__proto__") && !("a" in value));
});

Deno.test("pth: a tensor must lie on its storage", async () => {
  await loadPth(tensor("K\0", "K\x04\x85", "K\x01\x85"));
  await loadPth(tensor("K\x03", "K\x05\x85", "K\0\x85"));
  await loadPth(tensor("K\x04", "K\0\x85", "K\x01\x85"));
  const cases: [string, string, string, string][] = [
    ["K\x01", "K\x04\x85", "K\x01\x85", "does not lie"],
    ["K\0", "K\x02\x85", "K\x04\x85", "does not lie"],
    ["K\x05", "K\0\x85", "K\x01\x85", "does not lie"],
    ["K\0", "\x8a\x06\0\0\0\0\0\x01\x85", "K\0\x85", "does not lie"],
    ["K\0", "\x8a\x06\0\0\0\0\0\x01q\0h\0\x86", "K\0K\0\x86", "does not lie"],
    ["K\0", "K\x02\x85", "J\xff\xff\xff\xff\x85", "describes a tensor"],
    ["J\xff\xff\xff\xff", "K\x02\x85", "K\x01\x85", "describes a tensor"],
    ["K\0", "K\x02\x85", "K\x01K\x01\x86", "describes a tensor"],
    ["K\0", "N", ")", "describes a tensor"],
    ["G\x3f\xf8\0\0\0\0\0\0", "K\x02\x85", "K\x01\x85", "describes a tensor"],
  ];
  for (const [offset, shape, strides, message] of cases) {
    await assertRefused(message, tensor(offset, shape, strides));
  }
  await assertRefused("should have 20 bytes", STORAGE.replace("K\x04t", "K\x05t"), ".");
  await assertRefused("missing", STORAGE.replace("\x000", "\x001"), ".");
  await assertRefused("known kind", STORAGE.replace("torch\nFloatStorage", "torch\nfloat32"), ".");
  await assertRefused("neither plain data", STORAGE, ".");
  await assertRefused("neither plain data", "ctorch\nFloatStorage\n.");
});

Deno.test("pth: values that nest without end or too deep are refused", async () => {
  await assertRefused("100 deep", ")" + "\x85".repeat(1_000_000) + ".");
  await assertRefused("100 deep", "]q\0h\0a.");
  await assertRefused("100 deep", "}q\0K\x01h\0s.");
  await loadPth("]" + "q\0h\0h\0\x86".repeat(90) + "."); // 2⁹⁰ lists, if it were unfolded
});

async function assertRefused(message: string, ...pickle: string[]): Promise<void> {
  const error = await loadPth(...pickle).then(() => undefined, (error) => error);
  assert(error instanceof FormatError && error.message.includes(message), `${error}, ${message}`);
}
