import { assert, assertEquals, assertRejects } from "@std/assert";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { bytesSource } from "../model/bytes.ts";
import { type HostTensor, hostTensor, isHostTensor, toFloat32 } from "../model/host_tensor.ts";
import { type PthValue, readPth, readStateDict } from "../model/pth.ts";
import { pthChunks, type PthContent, pthValueChunks } from "../model/pth_writer.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { assertTensors, breakEverywhere, collect, everyKind } from "./support/weight_files.ts";

const FIXTURES = new URL("fixtures/pth/", import.meta.url);
const fixture = (name: string) => Deno.readFileSync(new URL(name, FIXTURES));
const read = (name: string) => readPth(bytesSource(name, fixture(name)));

async function values(tensor: PthValue | undefined): Promise<number[]> {
  assert(isHostTensor(tensor));
  return [...toFloat32(await tensor.read(), tensor.dtype)];
}

/** The value under these keys. */
function at(value: PthValue, ...keys: (string | number)[]): PthValue {
  for (const key of keys) {
    const next = value instanceof Map ? value.get(key) : (value as PthValue[])[Number(key)];
    assert(next !== undefined, `${key} is missing`);
    value = next;
  }
  return value;
}

Deno.test("pth: what PyTorch saved has its values, in every format and kind", async () => {
  const golden = await readSafetensors(
    bytesSource("values", fixture("values.safetensors")),
  );
  for (
    const [name, bits] of [
      ["float32.pth", 24],
      ["legacy.pth", 24],
      ["half.pth", 11],
      ["bfloat16.pth", 8],
    ] as const
  ) {
    const file = await readStateDict(bytesSource(name, fixture(name)));
    assertEquals([...file.tensors.keys()].sort(), [...golden.tensors.keys()].sort());
    for (const [key, expected] of golden.tensors) {
      const tensor = file.tensors.get(key)!;
      assertEquals(tensor.shape, expected.shape, key);
      const [found, wanted] = [await values(tensor), await values(expected)];
      for (const [i, value] of wanted.entries()) {
        assert(Math.abs(found[i]! - value) <= Math.abs(value) * 2 ** -bits, `${name} ${key} ${i}`);
      }
      assertEquals(found.length, wanted.length);
    }
  }
});

Deno.test("pth: a checkpoint to resume from is read with its optimizer", async () => {
  const value = await read("resume.pth");
  assertEquals(at(value, "step"), 17);
  assertEquals(at(value, "wandb_id"), null);
  const [group] = at(value, "optimizer", "param_groups") as PthValue[];
  assertEquals(at(group!, "betas"), [0.9, 0.999]);
  assertEquals(at(group!, "fused"), null);
  assertEquals(at(group!, "decoupled_weight_decay"), true);
  const moment = at(value, "optimizer", "state", 0, "exp_avg") as HostTensor;
  assertEquals(moment.shape, [3, 4]);
  assertEquals((await values(moment)).length, 12);
  const state = await readStateDict(bytesSource("resume.pth", fixture("resume.pth")));
  assertEquals([...state.tensors.keys()], ["weight", "bias"]);
});

Deno.test("pth: parameters, strides, repeated elements, sizes, bytes and large numbers", async () => {
  const value = await read("kinds.pth");
  assertEquals(await values(at(value, "p")), [1.5, -2]);
  assertEquals(await values(at(value, "q")), [3]);
  assertEquals(await values(at(value, "u")), [0, 7, 2 ** 32]);
  assertEquals(await values(at(value, "e")), [5, 6, 5, 6, 5, 6]);
  assertEquals(await values(at(value, "c")), [1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22]);
  assertEquals(await values(at(value, "i8")), [2]);
  assertEquals(await values(at(value, "i16")), [1, 3, 2, 4]);
  assertEquals(at(value, "s"), [2, 3]);
  assertEquals(at(value, "raw"), new Uint8Array([0, 255, 97, 98]));
  assertEquals(at(value, "i"), 2n ** 70n);
  assertEquals([at(value, "n"), at(value, "f")], [-1, -0]);
  await assertRejects(
    () => readStateDict(bytesSource("kinds.pth", fixture("kinds.pth"))),
    FormatError,
    "s, raw, i, n, f",
  );
});

Deno.test("pth: a file that would run something is refused by the name it calls", async () => {
  await assertRejects(() => read("malicious.pth"), FormatError, "posix.system");
});

Deno.test("pth: a file cut off or changed anywhere is refused or read, no more", async () => {
  const readEverything = async (bytes: Uint8Array) => {
    const walk = async (value: PthValue): Promise<void> => {
      if (isHostTensor(value)) await value.read();
      else if (value instanceof Map) { for (const [, item] of value) await walk(item); }
      else if (Array.isArray(value)) { for (const item of value) await walk(item); }
    };
    await walk(await readPth(bytesSource("broken.pth", bytes)));
  };
  for (const name of ["float32.pth", "legacy.pth", "resume.pth", "kinds.pth"]) {
    const refused = await breakEverywhere(fixture(name), readEverything);
    assert(refused > 500, `${name}: ${refused} refused`);
  }
});

Deno.test("pth: what is written reads back, with shared tensors in one place", async () => {
  const tensors = everyKind();
  const shares = new Map([["head", "kind.float32"]]);
  const bytes = await collect(pthChunks(tensors, "model", shares));
  const head = { ...tensors.find(({ name }) => name === "kind.float32")!, name: "head" };
  await assertTensors(await readStateDict(bytesSource("model.pth", bytes)), [...tensors, head]);
  const unshared = await collect(pthChunks([...tensors, head], "model"));
  assert(unshared.length > bytes.length + 24);
  assertEquals(await collect(pthChunks(tensors, "model", shares)), bytes);
  await assertRejects(
    () => collect(pthChunks([head, head], "model")),
    GlimpseError,
    "the name head",
  );
  await assertRejects(
    () => collect(pthChunks([head], "model", new Map([["a", "b"]]))),
    GlimpseError,
    "shares b",
  );
});

Deno.test("pth: nested values read back as they were written", async () => {
  const weight = hostTensor("w", [2], new Float32Array([1, 2]), "bfloat16");
  const numbers = [0, -1, 255, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, -(2 ** 40), 0.1, -0, Infinity];
  const content: PthContent = {
    model: new Map([["w", weight]]),
    optimizer: { state: new Map([[0, { exp_avg: weight, step: 3 }]]), groups: [{ lr: 1e-3 }] },
    numbers,
    large: [2n ** 64n, -(2n ** 63n), 2n ** 2000n],
    texts: ["", "ü→😀", "x".repeat(70000)],
    others: [null, true, false, [], {}],
  };
  const bytes = await collect(pthValueChunks(content, "resume"));
  const value = await readPth(bytesSource("resume.pth", bytes));
  assertEquals(at(value, "numbers"), numbers);
  assertEquals(at(value, "large"), [2n ** 64n, -(2n ** 63n), 2n ** 2000n]);
  assertEquals(at(value, "texts"), ["", "ü→😀", "x".repeat(70000)]);
  assertEquals(at(value, "others"), [null, true, false, [], new Map()]);
  assertEquals(await values(at(value, "model", "w")), [1, 2]);
  assertEquals(await values(at(value, "optimizer", "state", 0, "exp_avg")), [1, 2]);
  assertEquals(at(value, "optimizer", "groups", 0, "lr"), 1e-3);
  await assertRejects(
    () => collect(pthValueChunks(2n ** 2040n, "x")),
    GlimpseError,
    "more than 255",
  );
});
