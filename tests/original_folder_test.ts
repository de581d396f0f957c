import { assertEquals } from "@std/assert";
import { bytesSource } from "../model/bytes.ts";
import { float16ToFloat32 } from "../model/half.ts";
import type { HostTensor } from "../model/host_tensor.ts";
import { readStateDict } from "../model/pth.ts";
import {
  clipShapes,
  deterministicTensors,
  languageModelShapes,
} from "./support/deterministic_weights.ts";
import { makeOriginalFolder, originalExpected } from "./support/original_folder.ts";

/** SHA-256 over the float32 values of all tensors, in the order of their names. */
async function sha256(tensors: HostTensor[]): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (const tensor of tensors.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    const bytes = await tensor.read();
    parts.push(
      tensor.dtype === "float16"
        ? new Uint8Array(float16ToFloat32(new Uint16Array(bytes.buffer)).buffer)
        : bytes,
    );
  }
  const all = await new Blob(parts).bytes();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all)).toHex();
}

const FILES = {
  llm: () => deterministicTensors(languageModelShapes(false), "float16"),
  llm_moe: () => deterministicTensors(languageModelShapes(true), "float16"),
  clip: () => deterministicTensors(clipShapes(), "float32"),
};

for (const [name, tensors] of Object.entries(FILES)) {
  Deno.test(`the fixture's ${name} weights are the bits that Python makes`, async () => {
    assertEquals(await sha256(tensors()), (await originalExpected()).sha256[name]);
  });
}

Deno.test("the folder of an original's user holds its weights, data and pictures", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await makeOriginalFolder(dir);
    const source = bytesSource("llm", await Deno.readFile(`${dir}/out/llm_64.pth`));
    const weights = await readStateDict(source);
    assertEquals(
      Object.fromEntries([...weights.tensors.values()].map((t) => [t.name, t.shape])),
      languageModelShapes(false),
    );
    const rows = (await Deno.readTextFile(`${dir}/dataset/pretrain_data.jsonl`)).trim().split("\n");
    for (const { image } of rows.map((row) => JSON.parse(row))) {
      await Deno.stat(`${dir}/dataset/pretrain_images/${image}`);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
