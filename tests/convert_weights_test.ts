import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { run } from "../cli/convert.ts";
import { convertWeights } from "../data/convert_weights.ts";
import { writeFileAtomic } from "../data/files.ts";
import { openWeights } from "../data/open_weights.ts";
import { makeSampleFolder } from "../data/sample_folder.ts";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { miniMindOptions } from "../model/config.ts";
import { type HostTensor, hostTensor, toFloat32 } from "../model/host_tensor.ts";
import { safetensorsChunks } from "../model/safetensors.ts";

/** A temporary folder with a small model laid out as MiniMind-V's. */
async function withModel(action: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await makeSampleFolder(root, {
      seed: 1,
      rows: 1,
      evalPictures: 0,
      hiddenSize: 64,
      layers: 1,
      visionHiddenSize: 64,
      visionLayers: 1,
    });
    await action(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** All tensors of weights by name: type, shape and numbers. */
async function contents(path: string): Promise<Map<string, [string, string, Float32Array]>> {
  await using weights = await openWeights(path);
  const all = new Map<string, [string, string, Float32Array]>();
  for (const [name, tensor] of weights.tensors) {
    const values = toFloat32((await tensor.read()).slice(), tensor.dtype);
    all.set(name, [tensor.dtype, String(tensor.shape), values]);
  }
  return new Map([...all].sort(([a], [b]) => a < b ? -1 : 1));
}

Deno.test("weights go from .pth to safetensors to a folder and back without a change", () =>
  withModel(async (root) => {
    const pth = join(root, "out", "llm_64.pth"), safetensors = join(root, "x", "llm.safetensors");
    const folder = join(root, "folder"), back = join(root, "back.pth");
    await convertWeights(pth, safetensors);
    const { files } = await convertWeights(safetensors, folder, { tokenizer: join(root, "model") });
    await convertWeights(folder, back);
    const original = await contents(pth);
    for (const path of [safetensors, folder, back]) assertEquals(await contents(path), original);
    const names = files.map((path) => path.slice(folder.length + 1)).sort();
    assertEquals(
      names.filter((name) => /json|safetensors/.test(name)),
      ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
    );
    const config = JSON.parse(await Deno.readTextFile(join(folder, "config.json")));
    const { hidden_size, num_hidden_layers, num_attention_heads } = miniMindOptions(config, "");
    assertEquals([hidden_size, num_hidden_layers, num_attention_heads], [64, 1, 8]);
    assertEquals([config.model_type, config.architectures], ["minimind", ["MiniMindForCausalLM"]]);
    const shared = (await Deno.stat(back)).size, both = (await Deno.stat(safetensors)).size;
    assert(shared < both, "the head and the embedding are one storage in a .pth");
  }));

Deno.test("numbers change their type, whole numbers stay", () =>
  withModel(async (root) => {
    const values = new Float32Array([1, -0.1, 3e38, 65504]);
    const tensors: HostTensor[] = [
      hostTensor("model.embed_tokens.weight", [2, 2], values, "float32"),
      hostTensor("steps", [1], new Float32Array([7]), "int64"),
    ];
    const path = join(root, "a.safetensors");
    await writeFileAtomic(path, safetensorsChunks(tensors));
    await convertWeights(path, join(root, "b.pth"), { dtype: "bfloat16" });
    const found = await contents(join(root, "b.pth"));
    assertEquals([...found.keys()], ["lm_head.weight", "model.embed_tokens.weight", "steps"]);
    const [dtype, shape, rounded] = found.get("model.embed_tokens.weight")!;
    assertEquals([dtype, shape, found.get("steps")![0]], ["bfloat16", "2,2", "int64"]);
    assert(rounded.every((value, i) => Math.abs(value - values[i]!) <= Math.abs(values[i]!) / 256));
    const tooLarge = () => convertWeights(path, join(root, "c.pth"), { dtype: "float16" });
    await assertRejects(tooLarge, FormatError, "has numbers beyond 65504");
    assert(![...Deno.readDirSync(root)].some(({ name }) => name.startsWith("c.")));
  }));

Deno.test("a folder needs a language model and a tokenizer; the command says what it wrote", () =>
  withModel(async (root) => {
    const vision = join(root, "model/vision_model/clip-vit-base-patch16");
    const tokenizer = join(root, "model"), folder = join(root, "folder");
    await assertRejects(
      () => convertWeights(vision, folder, { tokenizer }),
      FormatError,
      "no MiniMind",
    );
    const pth = join(root, "out", "llm_64.pth");
    await assertRejects(() => convertWeights(pth, folder), GlimpseError, "--tokenizer_path");
    await assertRejects(
      () => convertWeights(pth, folder, { tokenizer: root }),
      GlimpseError,
      "no tok",
    );
    const { log } = console;
    const said: string[] = [];
    console.log = (line: string) => void said.push(line);
    try {
      const out = join(root, "half.safetensors");
      assertEquals(await run(["weights", vision, out, "--dtype", "float16"]), 0);
      assertEquals(said[1], `  ${out}`);
      assert([...(await contents(out)).values()].every(([dtype]) => /float16|int64/.test(dtype)));
    } finally {
      console.log = log;
    }
  }));
