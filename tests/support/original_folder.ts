/** A small folder as a user of the original has it, and what the original printed on it. */
import { join } from "@std/path";
import { writeFileAtomic } from "../../data/files.ts";
import type { HostTensor } from "../../model/host_tensor.ts";
import { pthChunks } from "../../model/pth_writer.ts";
import { safetensorsChunks } from "../../model/safetensors.ts";
import { clipShapes, deterministicTensors, languageModelShapes } from "./deterministic_weights.ts";

const FIXTURE = new URL("../fixtures/original/", import.meta.url);
const CLIP = "model/vision_model/clip-vit-base-patch16";

/**
 * A training run of the original: the flags it was given, and each step as it was printed.
 *
 * `*_moe` casts the routed experts' outputs to float16, as the original does, and moves by 2e-3 when
 * the weights move by 1e-6: compare with `*_moe_float32`, where that cast is left out.
 */
export interface ExpectedTraining {
  /** By name, without the dashes. */
  flags: Record<string, string | number>;
  /** The loss with the auxiliary loss, six decimals. */
  loss: number[];
  /** The learning rate. */
  lr: number[];
}

/** What the original says of one picture when it always takes the likeliest token. */
export interface ExpectedAnswer {
  /** The picture's file name. */
  image: string;
  /** How many tokens the prompt has. */
  prompt_tokens: number;
  /** The new tokens, the end token included. */
  ids: number[];
  /** Their text without special tokens. */
  text: string;
  /** The least lead of a chosen logit over the runner-up. */
  margin: number;
}

/** What `tests/fixtures/original/oracle.py` recorded. */
export interface OriginalExpected {
  /** Digests of the generated weights, by file. */
  sha256: Record<string, string>;
  /** Training runs by name. */
  train: Record<string, ExpectedTraining>;
  /** Evaluations by name. */
  eval: Record<string, { flags: Record<string, string | number>; outputs: ExpectedAnswer[] }>;
}

/** The recorded values. */
export async function originalExpected(): Promise<OriginalExpected> {
  return JSON.parse(await Deno.readTextFile(new URL("expected.json", FIXTURE)));
}

/** Registers a test in such a folder. */
export function folderTest(
  name: string,
  body: (dir: string) => Promise<void>,
  ignore = false,
): void {
  const fn = async () => {
    const dir = await Deno.makeTempDir();
    try {
      await makeOriginalFolder(dir);
      await body(dir);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  };
  Deno.test({ name, fn, ignore, sanitizeOps: false, sanitizeResources: false });
}

/** Lays out, in `dir`, weights, CLIP, tokenizer, data and pictures as the original wants them. */
export async function makeOriginalFolder(dir: string): Promise<void> {
  await copyFolder("model", join(dir, "model"));
  for (const stage of ["pretrain", "sft"]) {
    await copyFolder("dataset/images", join(dir, `dataset/${stage}_images`));
    await copyFile(`dataset/${stage}_data.jsonl`, join(dir, `dataset/${stage}_data.jsonl`));
  }
  await Deno.mkdir(join(dir, "dataset/eval_images"), { recursive: true });
  for (const image of ["circle.png", "square.jpg", "triangle.png"]) {
    await copyFile(`dataset/images/${image}`, join(dir, "dataset/eval_images", image));
  }
  const clip = [
    ...deterministicTensors(clipShapes(), "float32"),
    positionIds("text_model", 4),
    positionIds("vision_model", 197),
  ];
  await writeFileAtomic(
    join(dir, CLIP, "model.safetensors"),
    safetensorsChunks(clip, { format: "pt" }),
  );
  await Deno.mkdir(join(dir, "out"), { recursive: true });
  for (const suffix of ["", "_moe"]) {
    const tensors = deterministicTensors(languageModelShapes(suffix !== ""), "float16");
    await writeFileAtomic(
      join(dir, `out/llm_64${suffix}.pth`),
      pthChunks(tensors, `llm_64${suffix}`),
    );
  }
}

/** The buffer 0, 1, 2 … that published CLIP files hold beside the parameters. */
function positionIds(tower: string, count: number): HostTensor {
  const ids = BigInt64Array.from({ length: count }, (_, i) => BigInt(i));
  return {
    name: `${tower}.embeddings.position_ids`,
    dtype: "int64",
    shape: [1, count],
    read: () => Promise.resolve(new Uint8Array(ids.buffer)),
  };
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const entry of Deno.readDir(new URL(from, FIXTURE))) {
    const copy = entry.isDirectory ? copyFolder : copyFile;
    await copy(`${from}/${entry.name}`, join(to, entry.name));
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  await Deno.writeFile(to, await Deno.readFile(new URL(from, FIXTURE)));
}
