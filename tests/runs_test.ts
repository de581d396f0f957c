import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { run, runsText } from "../cli/runs.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { MetricsFile } from "../train/metrics_file.ts";
import { listRuns, type RunSummary } from "../train/runs.ts";

const META = {
  version: "0.1.0",
  command: "sft",
  arguments: ["--root", "my folder", "--epochs", "3"],
  epoch: 1,
  step: 4,
  updates: 12,
  loss: 2.25,
  state: "stopped",
  saved_at: "2026-01-01T00:00:00.000Z",
  weights: "out/sft_vlm_512.pth",
};

const row = (step: number, more = {}) => ({ step, epoch: 2, loss: 2.5, seconds: 1, ...more });

/** Runs a test in a folder with the files given by path. */
function withFiles(
  files: Record<string, string | object | readonly object[]>,
  body: (root: string) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const root = await Deno.makeTempDir();
    try {
      for (const [name, content] of Object.entries(files)) {
        const path = join(root, name);
        await Deno.mkdir(join(path, ".."), { recursive: true });
        const text = typeof content === "string"
          ? content
          : Array.isArray(content)
          ? content.map((row) => JSON.stringify(row) + "\n").join("")
          : JSON.stringify(content);
        await Deno.writeTextFile(path, text);
        await Deno.utime(path, 0, 1000 + Object.keys(files).indexOf(name)); // changed in this order
      }
      await body(root);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  };
}

const LATER = new Date(1e9);
const only = async (root: string, now = LATER): Promise<RunSummary> => {
  const runs = await listRuns(root, now);
  assertEquals(runs.length, 1);
  return runs[0]!;
};

Deno.test(
  "a stopped run is told with its last update and the command that continues it",
  withFiles({
    "checkpoints/sft_vlm_512_metrics.jsonl": [row(11), row(12, { loss: 2.25 })],
    "checkpoints/sft_vlm_512_resume/meta.json": META,
  }, async (root) => {
    const { name, folder, state, epoch, updates, loss, continueWith, problems } = await only(root);
    assertEquals([name, folder, state, epoch, updates, loss, problems], [
      "sft_vlm_512",
      join(root, "checkpoints"),
      "stopped",
      2,
      12,
      2.25,
      [],
    ]);
    const text = runsText(await listRuns(root, LATER));
    assert(
      text.includes("continue: deno task sft --root 'my folder' --epochs 3 --from_resume 1"),
      text,
    );
    assertEquals(continueWith!.length, 9);
  }),
);

Deno.test("what a command said of --from_resume is replaced, in every spelling", async () => {
  for (
    const said of [["--from_resume", "0"], ["--from-resume", "1"], ["--from_resume=0"], [
      "--from-resume=1",
    ], []]
  ) {
    const meta = { ...META, arguments: ["--a", "1", ...said, "--b", "2"] };
    await withFiles({ "x_resume/meta.json": meta }, async (root) => {
      const { continueWith } = await only(root);
      assertEquals(continueWith!.slice(3), ["--a", "1", "--b", "2", "--from_resume", "1"]);
    })();
  }
});

Deno.test("a --max_steps that was reached is left out of what continues a run", async () => {
  const cases = [["12", false], ["13", true], ["3", false]] as const;
  for (const [steps, stays] of cases) {
    for (const said of [["--max_steps", steps], [`--max-steps=${steps}`]]) {
      const meta = { ...META, arguments: [...said, "--compat"] };
      await withFiles({ "x_resume/meta.json": meta }, async (root) => {
        const { continueWith } = await only(root);
        const kept = stays ? said : [];
        assertEquals(continueWith!.slice(3), [...kept, "--compat", "--from_resume", "1"]);
      })();
    }
  }
});

Deno.test(
  "a finished run has nothing left to do",
  withFiles({
    "a_metrics.jsonl": [row(12)],
    "a_resume/meta.json": { ...META, state: "finished", epoch: 2 },
  }, async (root) => {
    const run = await only(root);
    assertEquals([run.state, run.epoch, run.continueWith], ["finished", 2, undefined]);
    assert(runsText([run]).includes("nothing is left to do"));
  }),
);

Deno.test(
  "a run that was killed after its checkpoint is broken off, and running while it writes",
  withFiles({
    "a_resume/meta.json": { ...META, state: "stopped" },
    "a_metrics.jsonl": [row(12), row(13)],
  }, async (root) => {
    const run = await only(root);
    assertEquals([run.state, run.updates, run.loss], ["broken off", 13, 2.5]);
    assert(run.continueWith);
    assertEquals((await only(root, new Date(1001e3 + 60_000))).state, "running");
    assertEquals((await only(root, new Date(1001e3 + 130_000))).state, "broken off");
  }),
);

Deno.test(
  "a run of slow updates may be silent for longer",
  withFiles({ "a_metrics.jsonl": [row(1, { seconds: 60 })] }, async (root) => {
    assertEquals((await only(root, new Date(1000e3 + 1_000_000))).state, "running");
    assertEquals((await only(root, new Date(1000e3 + 1_300_000))).state, "broken off");
  }),
);

Deno.test(
  "a line that was cut off, a loss that is not finite and a file without updates are met",
  withFiles({
    "cut_metrics.jsonl": JSON.stringify(row(7)) + "\n" + '{"step":8,"lo',
    "nan_metrics.jsonl": [row(3, { loss: null })],
    "empty_metrics.jsonl": "",
    "evaluated_metrics.jsonl": [row(4), { step: 4, val_loss: 3 }],
  }, async (root) => {
    const runs = await listRuns(root, LATER);
    const told = runs.map(({ name, updates, loss, problems }) => [name, updates, loss, problems]);
    assertEquals(told, [
      ["evaluated", 4, 2.5, []],
      ["empty", undefined, undefined, []],
      ["nan", 3, undefined, []],
      ["cut", 7, 2.5, []],
    ]);
    assert(/^empty +broken off +- +- +- /m.test(runsText(runs)));
  }),
);

Deno.test("files that are broken are told of, and the rest is shown", async () => {
  const broken: [string, string | object][] = [
    ["is not a JSON object", '{"command":'],
    ["is not a JSON object", "[]"],
    ["does not say the run's command", { ...META, command: 3 }],
    ["does not say the run's arguments", { ...META, arguments: ["--a", 1] }],
    ["does not say the run's epoch", { ...META, epoch: null }],
    ["does not say the run's updates", { ...META, updates: "12" }],
    ["does not say the run's state", { ...META, state: "\x1b[31m" }],
    ["is larger than", " ".repeat(1 << 20) + "{}"],
  ];
  for (const [problem, meta] of broken) {
    await withFiles({ "a_metrics.jsonl": [row(5)], "a_resume/meta.json": meta }, async (root) => {
      const { updates, problems, continueWith } = await only(root);
      assertEquals([updates, continueWith, problems.length], [5, undefined, 1]);
      assert(problems[0]!.includes(problem) && problems[0]!.includes("meta.json"), problems[0]);
    })();
  }
  await withFiles({
    "a_metrics.jsonl": "garbage\nmore\n",
    "a_resume/meta.json": META,
    "b_metrics.jsonl/x": "",
  }, async (root) => {
    const { updates, problems, continueWith } = await only(root);
    assertEquals([updates, problems.length], [12, 1]);
    assert(problems[0]!.includes("a_metrics.jsonl") && continueWith);
  })();
});

Deno.test(
  "only the end of a long metrics file is read",
  withFiles(
    { "a_metrics.jsonl": Array.from({ length: 5000 }, (_, i) => row(i + 1)) },
    async (root) => assertEquals((await only(root)).updates, 5000),
  ),
);

Deno.test(
  "runs of several folders are listed together, the last changed first",
  withFiles({
    "one/checkpoints/a_metrics.jsonl": [row(1)],
    "two/checkpoints/b_metrics.jsonl": [row(2)],
    "checkpoints/c_metrics.jsonl": [row(3)],
    "one/notes.txt": "",
    "checkpoints/_metrics.jsonl": "",
    "checkpoints/d_resume/step-00000001.safetensors": "",
  }, async (root) => {
    assertEquals((await listRuns(root, LATER)).map(({ name }) => name), ["c", "b", "a"]);
  }),
);

Deno.test(
  "names and arguments cannot speak to the terminal",
  withFiles({
    "a\x1b[31m_resume/meta.json": { ...META, arguments: ["--root", "\x1b]0;x\x07; rm"] },
  }, async (root) => {
    const text = runsText(await listRuns(root, LATER));
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x09\x0b-\x1f]/.test(text), text);
    assert(text.includes("'\\x1b]0;x\\x07; rm'"), text);
  }),
);

Deno.test(
  "the rows that training writes are read",
  withFiles({ "checkpoints/keep": "" }, async (root) => {
    {
      using file = await MetricsFile.open(join(root, "checkpoints", "a_metrics.jsonl"), 0);
      file.write({ step: 1, epoch: 1, loss: 3, aux_loss: 0, lr: 1, grad_norm: NaN });
    }
    const run = await only(root, new Date());
    assertEquals([run.state, run.updates, run.loss], ["running", 1, 3]);
  }),
);

Deno.test("a folder that does not exist is an error that names it", async () => {
  const error = await assertRejects(() => run(["/no/such/folder"]), GlimpseError);
  assert(error.message.includes("/no/such/folder"));
});

Deno.test("metrics go on after what a run keeps, and at no time is that missing", async () => {
  const root = await Deno.makeTempDir();
  try {
    const path = join(root, "checkpoints", "a_metrics.jsonl");
    const steps = async () => (await Deno.readTextFile(path)).split("\n").slice(0, -1);
    {
      using file = await MetricsFile.open(path, 0);
      for (const step of [1, 2, 3]) file.write({ step });
    }
    await Deno.writeTextFile(path, '{"step":4', { append: true }); // as a kill leaves it
    using before = await Deno.open(path);
    {
      using file = await MetricsFile.open(path, 2);
      assertEquals(await steps(), ['{"step":1}', '{"step":2}']);
      file.write({ step: 3 });
    }
    assertEquals(await steps(), ['{"step":1}', '{"step":2}', '{"step":3}']);
    assertEquals((await before.stat()).size, 42, "the file that was there was not cut");
    assertEquals((await Array.fromAsync(Deno.readDir(join(root, "checkpoints")))).length, 1);
    (await MetricsFile.open(path, 0))[Symbol.dispose]();
    assertEquals(await steps(), []);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
