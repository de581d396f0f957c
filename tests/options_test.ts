import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { run as chat } from "../cli/chat.ts";
import { run as evaluate } from "../cli/eval.ts";
import { entry, helpText, wrap } from "../cli/help_text.ts";
import { editDistance, nearest } from "../cli/nearest.ts";
import {
  choice,
  fileName,
  flag,
  integer,
  list,
  number,
  path,
  positional,
  text,
  zeroOrOne,
} from "../cli/option_kinds.ts";
import { asksForHelp, parseOptions } from "../cli/options.ts";
import { run as pretrain } from "../cli/pretrain.ts";
import { run as pretrainClip } from "../cli/pretrain_clip.ts";
import { run as pretrainLlm } from "../cli/pretrain_llm.ts";
import { run as serve } from "../cli/serve.ts";
import { run as sft } from "../cli/sft.ts";
import { run as sftLlm } from "../cli/sft_llm.ts";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { weightPath } from "../train/settings.ts";

const TABLE = {
  data_path: path({ help: "The samples.", section: "Files", default: "data.jsonl" }),
  images: list({ help: "Folders.", section: "Files", default: [] }),
  batch_size: integer({ help: "Samples a step.", section: "Training", default: 16, min: 1 }),
  learning_rate: number({ help: "Rate.", default: 4e-4, min: 0, aboveMin: true, max: 1 }),
  offset: number({ help: "Any number." }),
  num_hidden_layers: integer({ help: "Layers.", defaultText: "read from the weights" }),
  use_wandb: flag({ help: "Log the run." }),
  freeze_llm: zeroOrOne({ help: "Train the projector only.", default: true }),
  use_moe: zeroOrOne({ help: "Experts." }),
  dtype: choice(["float32", "float16"], { help: "Precision.", default: "float32" }),
  prompt: text({ help: "What to ask." }),
};

const parse = (...args: string[]) => parseOptions(TABLE, args);
const refuses = (args: string[], message: string): void => {
  assertEquals(assertThrows(() => parse(...args), UsageError).message, message);
};

Deno.test("defaults, and the types that the table gives", () => {
  const options = parse();
  const batchSize: number = options.batch_size;
  const layers: number | undefined = options.num_hidden_layers;
  const moe: boolean | undefined = options.use_moe;
  const dtype: "float32" | "float16" = options.dtype;
  const prompt: string | undefined = options.prompt;
  const images: readonly string[] = options.images;
  assertEquals([batchSize, layers, moe, dtype, prompt], [
    16,
    undefined,
    undefined,
    "float32",
    undefined,
  ]);
  assertEquals(images, []);
  // @ts-expect-error: a number without a default may be undefined
  const wrong: number = options.num_hidden_layers;
  assertEquals(wrong, undefined);
  // @ts-expect-error: no such option
  assertEquals(options.batchSize, undefined);
});

Deno.test("flags with underscores or dashes, with a space or an equals sign", () => {
  for (
    const args of [
      ["--batch_size", "4"],
      ["--batch-size", "4"],
      ["--batch_size=4"],
      ["--batch-size=4"],
    ]
  ) assertEquals(parse(...args).batch_size, 4);
});

Deno.test("every kind reads its value", () => {
  const options = parse(
    ...["--data_path", "a b/数据.jsonl", "--images", "x, y,,z", "--learning_rate", "1e-3"],
    ...["--offset", "-2.5", "--num_hidden_layers=16", "--use_wandb", "--freeze_llm", "0"],
    ...["--use_moe=1", "--dtype", "float16", "--prompt", "a=b --c"],
  );
  assertEquals(options, {
    data_path: "a b/数据.jsonl",
    images: ["x", "y", "z"],
    batch_size: 16,
    learning_rate: 1e-3,
    offset: -2.5,
    num_hidden_layers: 16,
    use_wandb: true,
    freeze_llm: false,
    use_moe: true,
    dtype: "float16",
    prompt: "a=b --c",
  });
});

Deno.test("a flag stands alone or takes 0, 1, true or false", () => {
  assertEquals(parse("--use_wandb", "--batch_size", "2").use_wandb, true);
  assertEquals(parse("--use-wandb", "0").use_wandb, false);
  assertEquals(parse("--use_wandb=false").use_wandb, false);
  assertEquals(parse("--use_wandb", "true").use_wandb, true);
  refuses(["--use_wandb=maybe"], '--use_wandb must be 0 or 1, but is "maybe".');
});

Deno.test("unknown options are refused and the nearest is named", () => {
  refuses(["--batch_sise", "4"], "There is no option --batch_sise. Did you mean --batch_size?");
  refuses(["--batchsize=4"], "There is no option --batchsize. Did you mean --batch_size?");
  refuses(
    ["--learning-rat", "1"],
    "There is no option --learning-rat. Did you mean --learning_rate?",
  );
  refuses(["-use_wandb"], "There is no option -use_wandb. Did you mean --use_wandb?");
  refuses(["--zzz"], "There is no option --zzz.");
  refuses(["--__proto__", "1"], "There is no option --__proto__.");
  refuses(["--no-use_wandb"], "There is no option --no-use_wandb. Did you mean --use_wandb?");
});

Deno.test("values that are missing, of the wrong kind or out of range name flag and value", () => {
  refuses(["--batch_size"], "--batch_size needs a value (N).");
  refuses(["--batch_size", "--use_wandb"], "--batch_size needs a value (N).");
  refuses(["--prompt="], "--prompt needs a value (TEXT).");
  refuses(
    ["--batch_size", "four"],
    '--batch_size must be a whole number of at least 1, but is "four".',
  );
  refuses(
    ["--batch_size", "1.5"],
    '--batch_size must be a whole number of at least 1, but is "1.5".',
  );
  refuses(
    ["--batch_size", "-4"],
    '--batch_size must be a whole number of at least 1, but is "-4".',
  );
  refuses(
    ["--batch_size", "0x10"],
    '--batch_size must be a whole number of at least 1, but is "0x10".',
  );
  refuses(
    ["--learning_rate", "0"],
    '--learning_rate must be a number above 0 and of at most 1, but is "0".',
  );
  refuses(
    ["--learning_rate", "nan"],
    '--learning_rate must be a number above 0 and of at most 1, but is "nan".',
  );
  refuses(["--offset", "Infinity"], '--offset must be a number, but is "Infinity".');
  refuses(["--freeze_llm", "2"], '--freeze_llm must be 0 or 1, but is "2".');
  refuses(["--freeze_llm", "toString"], '--freeze_llm must be 0 or 1, but is "toString".');
  refuses(["--dtype", "int8"], '--dtype must be one of float32, float16, but is "int8".');
});

Deno.test("a name for files stays in its folder", () => {
  const table = { save_weight: fileName({ help: "Name.", default: "sft_vlm" }) };
  for (const name of ["a b", "run-1.5", "模型", "..x", ".x"]) {
    assertEquals(parseOptions(table, ["--save_weight", name]).save_weight, name);
  }
  for (
    const name of [
      "../x",
      "a/b",
      "/x",
      "a\\b",
      "..",
      ".",
      " ",
      "a\0",
      "a\n",
      "out/sft_vlm_512.pth",
      "x.pth",
      "x.pt",
      "x.bin",
      "x.safetensors",
    ]
  ) {
    assertThrows(
      () => parseOptions(table, ["--save_weight", name]),
      UsageError,
      `--save_weight must be a name without folder and ending, but is ${JSON.stringify(name)}.`,
    );
  }
  assertThrows(
    () => parseOptions(table, ["--save_weight", ""]),
    UsageError,
    "--save_weight needs a value (NAME).",
  );
});

const TRAINING = [pretrain, sft, pretrainLlm, sftLlm, pretrainClip];

Deno.test("every command that trains refuses names that lead elsewhere, and flags without effect", async () => {
  const cases: [args: string[], sentence: string][] = [
    [
      ["--save_weight", "../x"],
      '--save_weight must be a name without folder and ending, but is "../x".',
    ],
    [
      ["--tracking_uri", "http://h"],
      "--tracking_uri http://h has no effect without --tracker mlflow",
    ],
    [
      ["--tracking_uri", "http://h", "--tracker", "tensorboard"],
      "--tracking_uri http://h has no effect without --tracker mlflow",
    ],
    [
      ["--val_path", "a.jsonl", "--val_ratio", "0.1"],
      "--val_ratio 0.1 has no effect beside --val_path a.jsonl",
    ],
  ];
  for (const command of TRAINING) {
    for (const [args, sentence] of cases) {
      await assertRejects(() => command(["--root", "nowhere", ...args]), UsageError, sentence);
    }
    const right = ["--tracking_uri", "http://h", "--tracker", "mlflow", "--val_path", "a.jsonl"];
    await assertRejects(
      () => command(["--root", "nowhere", ...right]),
      GlimpseError,
      "There is no folder nowhere",
    );
  }
});

Deno.test("what an answer is drawn by is refused outside its range, which is named", async () => {
  const cases: [commands: (typeof chat)[], flag: string, wrong: string[], range: string][] = [
    [
      [chat, evaluate],
      "temperature",
      ["-1", "11", "nan"],
      "a number of at least 0 and of at most 10",
    ],
    [[serve], "temperature", ["-1", "2.1"], "a number of at least 0 and of at most 2"],
    [[chat, evaluate, serve], "top_p", ["-0.1", "1.1"], "a number of at least 0 and of at most 1"],
    [
      [chat, evaluate, serve],
      "top_k",
      ["-1", "1.5", "1000001"],
      "a whole number of at least 0 and of at most 1000000",
    ],
    [[chat], "repetition_penalty", ["0", "101"], "a number of at least 0.01 and of at most 100"],
    [[chat, evaluate, serve], "max_new_tokens", ["0", "many"], "a whole number of at least 1"],
    [[chat, evaluate], "seed", ["-1", "0.5"], "a whole number of at least 0"],
  ];
  for (const [commands, flag, wrong, range] of cases) {
    for (const command of commands) {
      for (const value of wrong) {
        await assertRejects(
          () => command(["--root", "nowhere", `--${flag}`, value]),
          UsageError,
          `--${flag} must be ${range}`,
        );
      }
    }
  }
});

Deno.test("eval refuses what has no effect beside --data_path", async () => {
  const evaluated = (...args: string[]) =>
    evaluate(["--root", "nowhere", "--data_path", "a.jsonl", ...args]);
  for (
    const [flag, value] of [["image_dir", "a"], ["prompt", "What?"], ["temperature", "1"], [
      "top_k",
      "9",
    ]]
  ) {
    await assertRejects(
      () => evaluated(`--${flag}`, value!),
      UsageError,
      `--${flag} has no effect with --data_path`,
    );
  }
  const folder = "There is no folder nowhere";
  await assertRejects(() => evaluated(), GlimpseError, folder);
  await assertRejects(() => evaluated("--temperature", "0", "--top_k", "1"), GlimpseError, folder);
});

Deno.test("weights that are given by their file are refused with how they are named", () => {
  assertEquals(weightPath("out", "a/sft_vlm", 64, true), join("out", "a", "sft_vlm_64_moe.pth"));
  assertThrows(
    () => weightPath("out", "out/sft_vlm_512.pth", 512, false),
    UsageError,
    "here it is out/sft_vlm_512.pth.",
  );
});

Deno.test("an option given twice is refused", () => {
  refuses(["--batch_size", "1", "--batch-size=2"], "--batch_size is given 2 times; give it once.");
});

Deno.test("positional arguments have a declared place", () => {
  const table = {
    dir: positional(path({ help: "The folder." })),
    rows: positional(integer({ help: "How many.", default: 32, min: 1 })),
    force: flag({ help: "Overwrite." }),
  };
  const parse = (...args: string[]) => parseOptions(table, args);
  const dir: string = parse("x").dir;
  assertEquals(dir, "x");
  assertEquals(parse("--force", "x", "8"), { dir: "x", rows: 8, force: true });
  assertEquals(parse("7"), { dir: "7", rows: 32, force: false });
  assertEquals(parse("--force", "--", "--x").dir, "--x");
  assertThrows(() => parse(), UsageError, "The argument DIR is missing");
  assertThrows(() => parse("x", "8", "9"), UsageError, 'There is no place for the argument "9"');
  assertThrows(() => parse("x", "many"), UsageError, "ROWS must be a whole number of at least 1");
  assertThrows(() => parse("--dir", "x"), UsageError, "There is no option --dir");
  assertEquals(
    helpText("glimpse sample", "Makes a folder.", table),
    [
      "Usage: glimpse sample DIR [ROWS] [options]",
      "",
      "Makes a folder.",
      "",
      "Arguments",
      "  DIR                         The folder.",
      "  ROWS                        How many. (default: 32)",
      "",
      "Options",
      "  --force                     Overwrite.",
      "",
      "  --help                      Show this text.",
    ].join("\n"),
  );
});

Deno.test("help: sections, placeholders, defaults, at most 100 columns", () => {
  const help = helpText("glimpse pretrain", "Trains the projection. ".repeat(9), TABLE);
  for (
    const line of [
      "Files",
      "  --data_path PATH            The samples. (default: data.jsonl)",
      "  --batch_size N              Samples a step. (default: 16)",
      "  --num_hidden_layers N       Layers. (default: read from the weights)",
      "  --use_wandb                 Log the run.",
      "  --freeze_llm 0|1            Train the projector only. (default: 1)",
      "  --dtype float32|float16     Precision. (default: float32)",
      "  --prompt TEXT               What to ask.",
    ]
  ) assert(help.split("\n").includes(line), `${line}\nnot in\n${help}`);
  assert(help.split("\n").every((line) => line.length <= 100), help);
});

Deno.test("help: long explanations and long terms are laid out in two columns", () => {
  assertEquals(wrap("one two three", 7, 2), "one two\n  three");
  const lines = entry("--a_very_long_option_name TEXT", "word ".repeat(30).trim()).split("\n");
  assertEquals(lines.length, 4);
  assertEquals(lines[0], "  --a_very_long_option_name TEXT");
  assert(lines.slice(1).every((line) => /^ {30}word/.test(line) && line.length <= 100));
});

Deno.test("asking for help", () => {
  assert(asksForHelp(["--x", "1", "--help"]) && asksForHelp(["-h"]));
  assert(!asksForHelp(["--", "--help"]) && !asksForHelp([]));
});

Deno.test("nearest: misspellings are near, other words are not", () => {
  assertEquals(editDistance("kitten", "sitting"), 3);
  assertEquals(editDistance("ab", "ba"), 1);
  assertEquals(editDistance("", "abc"), 3);
  const commands = ["pretrain", "sft", "doctor", "sample"];
  assertEquals(nearest("pretrian", commands), "pretrain");
  assertEquals(nearest("pret", commands), "pretrain");
  assertEquals(nearest("samples", commands), "sample");
  assertEquals(nearest("chat", commands), undefined);
  assertEquals(nearest("x", commands), undefined);
});
