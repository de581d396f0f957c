/** `deno task demo`: from nothing to a small model that has learnt to see, by the commands that users type. */

import { join } from "@std/path";
import { VlmDataset } from "../data/dataset.ts";
import { demoParts, type DemoSizes, type TestRow, WORLDS } from "../data/demo_folder.ts";
import { writeFileAtomic } from "../data/files.ts";
import { loadImageProcessor, loadTokenizer, modelFolder } from "../data/model_folder.ts";
import { openGpu } from "../data/open_gpu.ts";
import { encodePng } from "../data/png.ts";
import { type ChatModel, loadChatModel } from "../data/vlm_folder.ts";
import { measureAnswers } from "../train/accuracy.ts";
import { answer } from "../train/answers.ts";
import { readMetricsRows } from "../train/metrics_rows.ts";
import { weightPath } from "../train/settings.ts";
import { shellLine } from "../train/shell_words.ts";
import { CountLine } from "./count_line.ts";
import { type Accuracy, demoPage, type DemoResult, type ShownAnswer } from "./demo_page.ts";
import { demoPlace } from "./demo_place.ts";
import {
  DEMO_WIDTH,
  DemoProgress,
  type DemoStep,
  demoSteps,
  nameOf,
  nextCommands,
} from "./demo_steps.ts";
import { choice, integer, path, text } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

/** Dialogues of each world. */
const DIALOGUES: Readonly<Record<DemoSizes["world"], number>> = { one: 20_000, scenes: 80_000 };

/** The options of `demo`. */
export const options = {
  world: choice(WORLDS, {
    help: "one shape a picture, which takes minutes, or scenes of several, which take hours.",
    default: "one",
  }),
  dir: path({
    help: "Folder to work in; what is there of the same demo is gone on with.",
    defaultText: "runs/demo, or runs/demo_scenes",
  }),
  seed: integer({ help: "Where all random numbers start.", default: 1, min: 0 }),
  captions: integer({ help: "Pictures with captions.", default: 10_000, min: 1 }),
  dialogues: integer({
    help: "Dialogues, each about a picture of its own.",
    defaultText: `${DIALOGUES.one}, or ${DIALOGUES.scenes} for scenes`,
    min: 1,
  }),
  texts: integer({ help: "Lines of text for the language model.", default: 3000, min: 1 }),
  questions: integer({ help: "Test questions of each kind.", default: 150, min: 1 }),
  device: text({
    help: "Adapter: gpu, software, or a piece of its name.",
    default: "gpu",
    placeholder: "NAME",
  }),
};

/** Questions asked at once, and pictures on the page: as many of each kind. */
const BATCH = 56, SHOWN_OF_EACH = 3;

/** Goes through the steps that are left, measures the model and writes the page. */
export async function run(args: readonly string[]): Promise<number> {
  const { dir, device, dialogues, ...given } = parseOptions(options, args);
  const { world } = given;
  const sizes: DemoSizes = { ...given, dialogues: dialogues ?? DIALOGUES[world] };
  const start = performance.now();
  const { home, root, before } = await demoPlace(
    dir ?? join("runs", world === "one" ? "demo" : `demo_${world}`),
    device,
  );
  const progress = await DemoProgress.open(root, sizes);
  console.log(
    `\n● A small world is made in ${root}: pictures and what there is to say about them.`,
  );
  for (const { name, make } of demoParts(root, sizes)) {
    const line = new CountLine(name);
    await progress.step(name, async () => {
      await make((done, all) => line.show(done, all));
      return 0;
    });
    line.end();
  }
  const steps = demoSteps(root, sizes.seed, device);
  for (const step of steps) {
    const name = step.command[0]!;
    const status = await progress.step(nameOf(step), (begun) => runStep(step, begun, home));
    if (status === 0) continue;
    console.error(
      `\ndeno task ${name} ended with ${status}; type the same again to go on from there.`,
    );
    return status;
  }
  console.log("\n● Questions about combinations of colour, kind and size that it never saw.");
  const examined = await examine(root, device);
  for (const line of accuracyLines(examined.accuracies)) console.log(line);
  const curves = await Promise.all(
    steps.filter(({ weight }) => weight !== undefined).map(async ({ command, weight }) => {
      const file = join(root, "checkpoints", `${weight}_${DEMO_WIDTH}_metrics.jsonl`);
      return { name: command[0]!, rows: (await readMetricsRows(file)).updates };
    }),
  );
  const page = join(root, "demo.html");
  const commands = steps.map((step) => ({
    typed: shellLine(["deno", "task", ...step.command]),
    seconds: progress.seconds.get(nameOf(step)),
  }));
  const next = before + nextCommands(root);
  await writeFileAtomic(page, demoPage({ ...examined, curves, commands, next }));
  const minutes = (performance.now() - start) / 60_000;
  console.log(`\nThe page ${page} shows it, ${minutes.toFixed(1)} minutes after the start.`);
  console.log(`Now type\n${next.replaceAll(/^/gm, "  ")}`);
  return 0;
}

/** Runs a command as a user would in Glimpse's folder; goes on from its checkpoint where it had begun. */
async function runStep(
  { title, command, weight }: DemoStep,
  begun: boolean,
  home: string,
): Promise<number> {
  const args = ["task", ...command, ...(begun && weight ? ["--from_resume", "1"] : [])];
  console.log(`\n● ${title}\n$ ${shellLine(["deno", ...args])}`);
  const child = new Deno.Command("deno", { args, cwd: home, stdin: "null" }).spawn();
  const ignore = () => {}; // the terminal sends Ctrl-C to the command too, which ends after its step
  const forward = () => child.kill("SIGTERM");
  Deno.addSignalListener("SIGINT", ignore);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", forward);
  try {
    return (await child.status).code;
  } finally {
    Deno.removeSignalListener("SIGINT", ignore);
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGTERM", forward);
  }
}

/** Asks the trained model the questions of the test. */
async function examine(
  root: string,
  device: string,
): Promise<Pick<DemoResult, "accuracies" | "shown" | "parameters" | "device">> {
  const folder = modelFolder(root);
  using gpu = await openGpu(device);
  using model = await loadChatModel(gpu, {
    weights: weightPath(folder.out, "sft_vlm", DEMO_WIDTH, false),
    tokenizer: folder.tokenizer,
    vision: folder.vision,
    language: { hidden_size: DEMO_WIDTH },
  });
  const dataPath = join(folder.dataset, "test_data.jsonl");
  using dataset = VlmDataset.open({
    dataPath,
    imagesPath: join(folder.dataset, "test_images.zip"),
    tokenizer: (await loadTokenizer(folder.tokenizer)).files,
    preprocessor: (await loadImageProcessor(folder.vision)).config,
    maxLength: 192,
    tokensPerPicture: model.vlm.tokensPerPicture,
  });
  const lines = (await Deno.readTextFile(dataPath)).trim().split("\n");
  const kinds = lines.map((line) => (JSON.parse(line) as TestRow).kind);
  const line = new CountLine("questions");
  const show = (done: number) => line.show(done, dataset.length);
  const outcomes = await measureAnswers(model.vlm, dataset, BATCH, show);
  line.end();
  const accuracies = [...new Set(kinds)].map((kind): Accuracy => {
    const own = outcomes.filter((_, i) => kinds[i] === kind);
    const share = (which: "seeing" | "blind") =>
      own.filter((outcome) => outcome[which]).length / own.length;
    return { kind, questions: own.length, seeing: share("seeing"), blind: share("blind") };
  });
  return {
    accuracies,
    shown: await showSome(folder.dataset, model, dataset, kinds),
    parameters: model.vlm.parameters.count + model.vlm.visionParameters.count,
    device: gpu.info.name,
  };
}

/** Lets the model answer some questions, and saves their pictures for `deno task eval`. */
async function showSome(
  folder: string,
  { vlm, tokenizer, processor }: ChatModel,
  dataset: VlmDataset,
  kinds: readonly string[],
): Promise<ShownAnswer[]> {
  const shown: ShownAnswer[] = [];
  for (let i = 0; i < Math.min(SHOWN_OF_EACH * new Set(kinds).size, dataset.length); i++) {
    const sample = await dataset.sample(i);
    const said = await answer(vlm, tokenizer, sample, 0);
    if (!said) continue;
    const png = await encodePng(sample.pictures[0]!, processor.size);
    await writeFileAtomic(join(folder, "eval_images", `${String(i).padStart(2, "0")}.png`), png);
    const { row } = await dataset.encode(i);
    const [asked] = row.conversations as TestRow["conversations"];
    shown.push({
      kind: kinds[i]!,
      picture: png,
      question: asked!.content.replace("<image>\n", ""),
      answer: said.answer.trim(),
      expected: (said.expected ?? "").trim(),
    });
  }
  return shown;
}

function accuracyLines(accuracies: readonly Accuracy[]): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`.padStart(9);
  return [
    "  question   exact answers   with another picture (blind)",
    ...accuracies.map(({ kind, seeing, blind }) =>
      `  ${kind.padEnd(10)} ${percent(seeing)}       ${percent(blind)}`
    ),
  ];
}
