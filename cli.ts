/**
 * Glimpse's command line: `deno task COMMAND` runs `cli.ts COMMAND` with the permissions that the
 * command needs.
 *
 * @module
 */

import { type Program, runProgram } from "./cli/program.ts";
import config from "./deno.json" with { type: "json" };

const GLIMPSE: Program = {
  summary: "trains, evaluates and serves a small vision-language model on any GPU.",
  version: config.version,
  prefix: "deno task",
  help: "deno run cli.ts --help",
  commands: {
    pretrain: {
      summary: "Trains the projection from the vision tower to the language model.",
      load: () => import("./cli/pretrain.ts"),
    },
    sft: {
      summary: "Trains projection and language model on dialogues about pictures.",
      load: () => import("./cli/sft.ts"),
    },
    demo: {
      summary: "Goes from nothing to a small model that has learnt to see, in minutes.",
      load: () => import("./cli/demo.ts"),
    },
    tokenizer: {
      summary: "Learns a byte-level BPE tokenizer from text.",
      load: () => import("./cli/tokenizer.ts"),
    },
    "pretrain-llm": {
      summary: "Trains the language model itself, on text.",
      load: () => import("./cli/pretrain_llm.ts"),
    },
    "sft-llm": {
      summary: "Trains the language model on conversations.",
      load: () => import("./cli/sft_llm.ts"),
    },
    "pretrain-clip": {
      summary: "Trains a vision tower and a text tower to tell which caption is whose picture's.",
      load: () => import("./cli/pretrain_clip.ts"),
    },
    eval: {
      summary:
        "Lets a trained model describe the pictures of a folder, or measures it on a data set.",
      load: () => import("./cli/eval.ts"),
    },
    chat: {
      summary: "Talks about pictures in the terminal.",
      load: () => import("./cli/chat.ts"),
    },
    serve: {
      summary: "Serves OpenAI's interface and a page to talk about pictures.",
      load: () => import("./cli/serve.ts"),
    },
    runs: {
      summary: "Lists the runs of a folder: where each stands, and how to continue it.",
      load: () => import("./cli/runs.ts"),
    },
    doctor: {
      summary: "Shows the GPU, its limits and features, and how fast it is.",
      load: () => import("./cli/doctor.ts"),
    },
    tune: {
      summary: "Measures which kernels are the fastest here, for all other commands.",
      load: () => import("./cli/tune.ts"),
    },
    fetch: {
      summary: "Brings models and data sets from Hugging Face, a mirror of it, or ModelScope.",
      load: () => import("./cli/fetch.ts"),
    },
    extract: {
      summary: "Unpacks a zip archive; training reads pictures from it as it is.",
      load: () => import("./cli/extract.ts"),
    },
    inspect: {
      summary: "Shows what is in a data set, and what the model gets of a row.",
      load: () => import("./cli/inspect.ts"),
    },
    convert: {
      summary:
        "Converts weights (.pth, safetensors, transformers' folders) or data (JSON Lines, Parquet).",
      load: () => import("./cli/convert.ts"),
    },
    sample: {
      summary: "Makes a small folder of random weights, pictures and captions to try things on.",
      load: () => import("./cli/sample.ts"),
    },
  },
};

if (import.meta.main) Deno.exit(await runProgram(GLIMPSE, Deno.args));
