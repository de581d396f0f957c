import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { DemoProgress } from "../cli/demo_steps.ts";
import { run as pretrain } from "../cli/pretrain.ts";
import { run as pretrainLlm } from "../cli/pretrain_llm.ts";
import { run as sft } from "../cli/sft.ts";
import { run as sftLlm } from "../cli/sft_llm.ts";
import { run as learnTokenizer } from "../cli/tokenizer.ts";
import { decodeBmp, encodeBmp } from "../data/bmp.ts";
import { VlmDataset } from "../data/dataset.ts";
import { type DemoSizes, makeDemoFolder, WORLDS } from "../data/demo_folder.ts";
import { SceneOfOne } from "../data/demo_one.ts";
import { SceneOfSeveral, WorldOfScenes } from "../data/demo_scenes.ts";
import { COLOURS, KINDS, Looks, PICTURE_SIZE } from "../data/demo_world.ts";
import { loadTokenizer, modelFolder } from "../data/model_folder.ts";
import { openWeights } from "../data/open_weights.ts";
import { loadChatModel } from "../data/vlm_folder.ts";
import { FormatError, UsageError } from "../kernels/runtime/errors.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { clipVisionConfig, miniMindConfig, pictureTokens } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { measureAnswers } from "../train/accuracy.ts";
import { answer } from "../train/answers.ts";
import { gpuTest, testGpu } from "./support/gpu.ts";

const SIZES: DemoSizes = {
  world: "one",
  seed: 3,
  texts: 32,
  captions: 32,
  dialogues: 32,
  questions: 2,
};

async function inTempFolder(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("what is held out is spread evenly, and is what the test is about", () => {
  for (let seed = 0; seed < 20; seed++) {
    const looks = new Looks(new Random(seed));
    const random = new Random(seed).fork("draws");
    const of = (held: boolean) => {
      const drawn = Array.from({ length: 2000 }, () => looks.draw(random, held));
      assert(drawn.every((look) => looks.isHeld(look) === held));
      return [...new Map(drawn.map((look) => [JSON.stringify(look), look])).values()];
    };
    const held = of(true);
    assertEquals([of(false).length, held.length], [48, 12]);
    assertEquals(new Set(held.map(({ colour, kind }) => `${colour}/${kind}`)).size, 12);
    const count = (of: "colour" | "kind" | "size") =>
      [...Map.groupBy(held, (look) => look[of]).values()].map(({ length }) => length).sort();
    assertEquals(count("colour"), [2, 2, 2, 2, 2, 2]);
    assertEquals(count("kind"), [2, 2, 2, 3, 3]);
    assertEquals(count("size"), [6, 6]);
  }
});

Deno.test("questions about one shape have one answer, in both languages", () => {
  const look = { colour: 0, kind: 3, size: 1 };
  const scene = new SceneOfOne(look, [2]);
  const random = new Random(1);
  assertEquals(scene.ask("colour", "en", random).answer, " red.");
  assertEquals(scene.ask("place", "zh", random).answer, "右上。");
  assertEquals(scene.ask("describe", "en", random).answer, " a large red ring, top right.");
  const three = new SceneOfOne(look, [2, 0, 5]);
  assertEquals(three.ask("describe", "zh", random).answer, "三个大的红色圆环。");
  assertEquals(three.ask("count", "en", random).answer, " three.");
  assert(scene.asked.includes("place") && !three.asked.includes("place"));
  const answers = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const { question, answer } = scene.ask("yes/no", "en", random);
    const right = question === "Is it a red ring?";
    assertEquals(answer, ` a red ring, so ${right ? "yes" : "no"}.`);
    answers.add(answer);
  }
  assertEquals(answers.size, 2);
});

Deno.test("questions about several shapes find theirs by what they say", () => {
  const random = new Random(1);
  const ring = { colour: 0, kind: 3, size: 1, place: 2 };
  const cross = { colour: 2, kind: 4, size: 0, place: 6 };
  const scene = new SceneOfSeveral([cross, ring], ring);
  const said = (kind: string) => Object.values(scene.ask(kind, "en", random));
  assertEquals(said("colour"), ["What colour is the ring?", " top right, red."]);
  assertEquals(said("kind"), ["What shape is the red one?", " top right, ring."]);
  assertEquals(said("at"), ["What is top right?", " a large red ring."]);
  assertEquals(said("count"), ["How many are there?", " two."]);
  assertEquals(
    said("describe")[1],
    " top right, a large red ring; bottom left, a small blue cross.",
  );
  const relations = new Map([["left of", "no"], ["right of", "yes"], ["above", "yes"], [
    "below",
    "no",
  ]]);
  const asked = new Set<string>();
  for (let i = 0; i < 60; i++) {
    const [question, answer] = said("relation");
    const relation = question!.replace("Is the ring ", "").replace(" the cross?", "");
    assertEquals(answer, ` top right, bottom left, so ${relations.get(relation)}.`);
    asked.add(relation);
  }
  assertEquals(asked.size, 4);
  assert(!new SceneOfSeveral([ring]).asked.includes("relation"));
});

Deno.test("scenes show shapes of different kinds and colours, and what is held out only where it is asked for", () => {
  const world = new WorldOfScenes(new Random(7));
  const looks = new Looks(new Random(7));
  const random = new Random(8);
  const counts = new Set<number>();
  for (let i = 0; i < 300; i++) {
    const held = i % 2 === 0;
    const { answer } = world.scene(random, held).ask("describe", "en", random);
    const shapes = answer.slice(1, -1).split("; ").map((part) => {
      const [place, what] = part.split(", a ");
      const [size, colour, kind] = what!.split(" ");
      const look = {
        size: size === "small" ? 0 : 1,
        colour: COLOURS.findIndex(({ en }) => en === colour),
        kind: KINDS.findIndex(({ en }) => en === kind),
      };
      return { place, look };
    });
    counts.add(shapes.length);
    for (const which of ["colour", "kind"] as const) {
      assertEquals(new Set(shapes.map(({ look }) => look[which])).size, shapes.length);
    }
    assertEquals(new Set(shapes.map(({ place }) => place)).size, shapes.length);
    assertEquals(shapes.filter(({ look }) => looks.isHeld(look)).length, held ? 1 : 0);
  }
  assertEquals([...counts].sort(), [1, 2, 3, 4]);
});

for (const world of WORLDS) {
  Deno.test(`the folder of the world ${world} is the same for the same seed`, async () => {
    const listing = async (seed: number) => {
      const files: Record<string, string> = {};
      await inTempFolder(async (root) => {
        await makeDemoFolder(root, { ...SIZES, world, seed });
        const { dataset } = modelFolder(root);
        for await (const { name } of Deno.readDir(dataset)) {
          const hash = await crypto.subtle.digest(
            "SHA-256",
            await Deno.readFile(join(dataset, name)),
          );
          files[name] = new Uint8Array(hash).toHex();
        }
      });
      return files;
    };
    const first = await listing(3);
    assertEquals(Object.keys(first).length, 7);
    assertEquals(await listing(3), first);
    assert(Object.entries(await listing(4)).every(([name, hash]) => hash !== first[name]));
  });
}

Deno.test("a bitmap is read as it was written", () => {
  const picture = new SceneOfOne({ colour: 1, kind: 0, size: 0 }, [4]).draw(new Random(5));
  assertEquals(decodeBmp(encodeBmp(picture), PICTURE_SIZE ** 2), picture);
});

Deno.test("steps that are done are not done again, and one that had begun hears of it", async () => {
  await inTempFolder(async (root) => {
    const calls: string[] = [];
    const doing = (name: string, status: number) => (begun: boolean) => {
      calls.push(`${name} ${begun}`);
      return Promise.resolve(status);
    };
    const first = await DemoProgress.open(root, { seed: 1 });
    await first.step("a", doing("a", 0));
    assertEquals(await first.step("b", doing("b", 130)), 130);
    const second = await DemoProgress.open(root, { seed: 1 });
    assertEquals(await second.step("a", doing("a", 0)), 0);
    assertEquals(await second.step("b", doing("b", 0)), 0);
    assertEquals([...second.seconds.keys()], ["a", "b"]);
    const other = await DemoProgress.open(root, { seed: 2 });
    await other.step("a", doing("a", 0));
    assertEquals(calls, ["a false", "b false", "b true", "a false"]);
  });
});

Deno.test("a tower says how many tokens a picture takes", () => {
  const fields = { image_size: 48, patch_size: 8, hidden_size: 64, num_attention_heads: 4 };
  assertEquals(pictureTokens(clipVisionConfig(fields)), 36);
  assertEquals(pictureTokens(clipVisionConfig({ ...fields, spatial_merge_size: 2 })), 9);
  assertThrows(
    () => clipVisionConfig({ ...fields, spatial_merge_size: 4 }),
    FormatError,
    "spatial_merge_size 4",
  );
});

gpuTest("the features of a square of patches stand behind one another", async (gpu) => {
  const vision = clipVisionConfig({
    ...{ image_size: 12, patch_size: 2, hidden_size: 4, num_attention_heads: 1 },
    ...{ num_hidden_layers: 1, intermediate_size: 4, spatial_merge_size: 3 },
  });
  const language = miniMindConfig({
    ...{ hidden_size: 16, num_hidden_layers: 1, vocab_size: 16, max_position_embeddings: 16 },
  });
  using vlm = new Vlm(gpu, { language, vision, imageMean: [0, 0, 0], imageStd: [1, 1, 1] });
  using _scope = gpu.scope();
  // two pictures of 6 × 6 patches behind a class token; each row holds its own number
  const rows = Float32Array.from({ length: 2 * 37 * 4 }, (_, i) => Math.floor(i / 4));
  const merged = vlm.dropClassTokens(gpu.tensor(rows, [2 * 37, 4]));
  assertEquals(merged.shape, [8, 36]);
  const read = new Float32Array((await gpu.readAll([merged]))[0]!);
  const numbers = Array.from({ length: 9 }, (_, i) => read[36 + 4 * i]! - 1);
  assertEquals(numbers, [3, 4, 5, 9, 10, 11, 15, 16, 17]); // the upper right square
  assertEquals(read[7 * 36]! - 1 - 37, 21); // the last picture's last square
});

Deno.test("a row of text is learnt as a whole, between the tokens that begin and end", async () => {
  await inTempFolder(async (root) => {
    const dataPath = join(root, "a.jsonl");
    const rows = ["ab", "<|im_start|>ab<|im_end|>"].map((text) => JSON.stringify({ text }));
    await Deno.writeTextFile(dataPath, rows.join("\n"));
    using dataset = VlmDataset.open({
      ...{ dataPath, imagesPath: "", tokenizer: byteTokenizer() },
      ...{ maxLength: 8, tokensPerPicture: 0 },
    });
    const first = await dataset.sample(0);
    assertEquals([...first.ids], [1, 67, 68, 2]);
    assertEquals([...first.mask], [1, 1, 1, 1]);
    assertEquals((await dataset.sample(1)).ids, first.ids);
    assertEquals((await dataset.encode(0, 3)).truncated, true);
  });
});

Deno.test({
  name: "from nothing: tokenizer, language model, tower; and the tower goes where the weights go",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inTempFolder(async (root) => {
      await makeDemoFolder(root, SIZES);
      const folder = modelFolder(root);
      const texts = join(folder.dataset, "pretrain_llm_data.jsonl");
      assertEquals(
        await learnTokenizer(["--root", root, "--vocab_size", "300", "--data_path", texts]),
        0,
      );
      const common = ["--root", root, "--hidden_size", "32", "--num_workers", "0"];
      const llm = [...common, "--num_hidden_layers", "1", "--learning_rate", "1e-3"];
      assertEquals(await pretrainLlm([...llm, "--accumulation_steps", "1"]), 0);
      await Deno.writeTextFile(
        join(folder.dataset, "sft_llm_data.jsonl"),
        JSON.stringify({ conversations: [{ content: "colour?" }, { content: "red" }] }) + "\n",
      );
      assertEquals(await sftLlm(common), 0);
      await assertRejects(() => sftLlm([...common, "--vision_path", root]), UsageError);

      const seeing = [...common, "--max_seq_len", "200", "--epochs", "2", "--max_steps", "2"];
      await assertRejects(() => pretrain(seeing)); // no tower is there, and none is to train
      assertEquals(await pretrain([...seeing, "--freeze_vision", "0"]), 0);
      const tower = async (name: string) => {
        await using file = await openWeights(join(folder.out, `${name}_32.pth`));
        const own = [...file.tensors].filter(([name]) => name.startsWith("vision_encoder."));
        return new Map(
          await Promise.all(own.map(async ([name, t]) => [name, await t.read()] as const)),
        );
      };
      const trained = await tower("pretrain_vlm");
      assertEquals(trained.size, 23);
      assertEquals(await sft([...seeing, "--save_weight", "frozen"]), 0);
      assertEquals(await tower("frozen"), trained);
      assertEquals(
        await sft([
          ...seeing,
          "--freeze_vision",
          "0",
          "--learning_rate",
          "1e-2",
        ]),
        0,
      );
      const further = await tower("sft_vlm");
      const changed = [...further].filter(([name, bytes]) =>
        bytes.some((byte, i) => byte !== trained.get(name)![i])
      );
      // all but the norm that only the pooled output has, and biases of keys, which change nothing
      assert(changed.length >= further.size - 3, `${changed.length} of ${further.size}`);

      const gpu = await testGpu();
      using model = await loadChatModel(gpu, {
        weights: join(folder.out, "sft_vlm_32.pth"),
        ...{ tokenizer: folder.tokenizer, vision: folder.vision, language: {} },
      });
      using dataset = VlmDataset.open({
        dataPath: join(folder.dataset, "test_data.jsonl"),
        imagesPath: join(folder.dataset, "test_images.zip"),
        tokenizer: (await loadTokenizer(folder.tokenizer)).files,
        ...{ preprocessor: { size: 48, crop_size: 48 }, maxLength: 200, tokensPerPicture: 9 },
      });
      const outcomes = await measureAnswers(model.vlm, dataset, 7);
      assertEquals(outcomes.length, dataset.length);
      for (let i = 0; i < dataset.length; i++) {
        const said = await answer(model.vlm, model.tokenizer, await dataset.sample(i), 0);
        assertEquals(outcomes[i]!.seeing, said!.answer === said!.expected, `row ${i}`);
      }
    }),
});

/** Types `demo` in a folder that is not Glimpse's. */
async function demoIn(
  cwd: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; said: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", join(GLIMPSE, "cli.ts"), "demo", ...args],
    cwd,
    env: { ...env, NO_COLOR: "1" },
  }).output();
  return { code, said: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

const GLIMPSE = fromFileUrl(new URL("..", import.meta.url));

Deno.test("the demo says what it lacks before it makes anything", async () => {
  await inTempFolder(async (cwd) => {
    const cases: [args: string[], env: Record<string, string>, sentence: string][] = [
      [["--device", "no such"], {}, 'error: No adapter answers to "no such".'],
      [
        [],
        { PATH: cwd, Path: cwd },
        "error: The demo runs `deno task …`, and the PATH leads to no deno",
      ],
    ];
    for (const [args, env, sentence] of cases) {
      const { code, said } = await demoIn(cwd, args, env);
      assertEquals(code, 1, said);
      assert(said.startsWith(sentence), said);
      assertEquals([...Deno.readDirSync(cwd)], []);
    }
  });
});

Deno.test("the demo runs from any folder, into one of any name", async () => {
  await inTempFolder(async (cwd) => {
    const sizes = ["texts", "captions", "dialogues"].flatMap((name) => [`--${name}`, "8"]);
    const device = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";
    const args = ["--dir", "a b", ...sizes, "--questions", "1", "--device", device];
    const { code, said } = await demoIn(cwd, args);
    assertEquals(code, 0, said);
    assert(said.includes(`Now type\n  cd ${GLIMPSE}\n  deno task eval --root '`), said);
    assert((await Deno.readTextFile(join(cwd, "a b", "demo.html"))).includes("deno task sft"));
  });
});
