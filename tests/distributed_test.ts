import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import {
  alone,
  assertIncludes,
  assertNear,
  assertSameRun,
  common,
  end,
  metricsOf,
  mpirun,
  runs,
  start,
} from "./support/mpi.ts";
import { folderTest } from "./support/original_folder.ts";

const ignore = !await runs("mpirun", "--version");
const rankTest = (name: string, body: (dir: string) => Promise<void>) =>
  folderTest(name, body, ignore);

rankTest("ranks have the losses of one process with the whole batch", async (dir) => {
  const flags = common(dir, 10);
  const batch = (size: number, name: string) => ["--batch_size", `${size}`, "--save_weight", name];
  // 8 samples in batches of 6: the last batch is ragged, and of 3 ranks one has none of it
  for (const [command, ranks] of [["pretrain", 2], ["sft", 3]] as const) {
    await alone([command, ...flags, ...batch(6, command)]);
    const name = `${command}_on_${ranks}`;
    const text = await mpirun(ranks, [command, ...flags, ...batch(6 / ranks, name)]);
    assertIncludes(text, `rank ${ranks - 1} of ${ranks}: `);
    await assertSameRun(dir, `${name}_64`, `${command}_64`);
  }
  const moe = ["sft", ...common(dir, 2), "--use_moe", "1", "--accumulation_steps", "2"];
  await alone([...moe, ...batch(2, "experts")]);
  await mpirun(2, [...moe, ...batch(1, "experts_on_2")]);
  await assertSameRun(dir, "experts_on_2_64_moe", "experts_64_moe");
});

rankTest("a run goes on with any number of ranks", async (dir) => {
  const flags = ["sft", ...common(dir, 5), "--val_ratio", "0.25"];
  await alone([...flags, "--batch_size", "4", "--save_weight", "whole"]);
  const parts = [...flags, "--save_weight", "parts"];
  await mpirun(4, [...parts, "--batch_size", "1", "--max_steps", "3", "--shard_optimizer", "1"]);
  await mpirun(2, [...parts, "--batch_size", "2", "--max_steps", "6", "--from_resume", "1"]);
  await mpirun(2, [
    ...parts,
    "--batch_size",
    "2",
    "--max_steps",
    "8",
    "--from_resume",
    "1",
    "--shard_optimizer",
    "1",
  ]);
  await alone([...parts, "--batch_size", "4", "--from_resume", "1"]);
  await assertSameRun(dir, "parts_64", "whole_64");
  const [whole, last] = [await metricsOf(dir, "whole_64"), await metricsOf(dir, "parts_64")];
  assertNear(last.measured.at(-1)!.val_loss!, whole.measured.at(-1)!.val_loss!, "val_loss");
});

rankTest("half precision and local steps come close", async (dir) => {
  const flags = ["sft", ...common(dir, 6), "--save_weight"];
  await alone([...flags, "whole", "--batch_size", "4"]);
  const [rank, half, local] = [["--batch_size", "2"], "float16", "3"];
  await mpirun(2, [...flags, "half", ...rank, "--allreduce_dtype", half]);
  await mpirun(2, [...flags, "local", ...rank, "--local_steps", local]);
  const losses = async (name: string) =>
    (await metricsOf(dir, `${name}_64`)).updates.map(({ loss }) => loss);
  const whole = await losses("whole");
  for (const [name, most] of [["half", 2e-3], ["local", 0.3]] as const) {
    (await losses(name)).forEach((loss, i) => {
      assert(
        Math.abs(loss - whole[i]!) < most,
        `${name}, update ${i + 1}: ${loss}, not ${whole[i]}`,
      );
    });
  }
});

rankTest(
  "a rank that is killed or hangs ends them all, and the run can go on",
  async (dir) => {
    const flags = ["sft", ...common(dir, 200), "--batch_size", "2", "--save_interval", "2"];
    const meta = join(dir, "checkpoints/sft_vlm_64_resume/meta.json");
    for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
      const job = start([2, [...flags, "--timeout", "10"]]);
      const ended = end(job);
      while (!await exists(meta)) await pause();
      const [, victim] = await processesWith(dir, "cli.ts");
      Deno.kill(victim!, signal);
      const { code, text } = await ended;
      assert(code !== 0, text);
      if (signal === "SIGSTOP") assertIncludes(text, "has waited 10 s for the other ranks");
      for (let i = 0; i < 100 && (await processesWith(dir, "cli.ts")).length > 0; i++) {
        await pause();
      }
      assertEquals(
        await processesWith(dir, "cli.ts"),
        [],
        "processes left 10 s after mpirun's end",
      );
      const updates = await newestCheckpoint(join(dir, "checkpoints/sft_vlm_64_resume"));
      const more = ["--from_resume", "1", "--max_steps", String(updates + 2)];
      assertIncludes(await mpirun(2, [...flags, ...more]), `${updates} updates done`);
      await Deno.remove(meta);
    }
  },
);

rankTest("ranks with other data or options are refused", async (dir) => {
  const task = ["sft", ...common(dir, 2), "--batch_size", "2"];
  const data = join(dir, "dataset/other.jsonl");
  const rows = await Deno.readTextFile(join(dir, "dataset/sft_data.jsonl"));
  await Deno.writeTextFile(data, rows.slice(rows.indexOf("\n") + 1));
  const { code, text } = await end(
    start([1, task], [1, [...task, "--data_path", data, "--seed", "7"]]),
  );
  assert(code !== 0);
  assertIncludes(text, "rows is 7 on rank 1");
  assertIncludes(text, "seed is 7 on rank 1");
});

rankTest("doctor tells of all ranks", async () => {
  const text = await mpirun(2, ["doctor"]);
  for (const rank of [0, 1]) assert(new RegExp(`rank ${rank} of 2 .*GFLOP/s\\n`).test(text), text);
  assert(/Open MPI +[45]\.\d/.test(text), text);
});

/** Updates that the newest checkpoint holds. */
async function newestCheckpoint(folder: string): Promise<number> {
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  return Number(
    names.filter((name) => /^step-\d+\.safetensors$/.test(name)).sort().at(-1)!.slice(5, 13),
  );
}

/** A tenth of a second. */
async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 100));
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** The processes whose arguments hold all these texts. */
async function processesWith(...texts: string[]): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    const command = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (texts.every((text) => command.includes(text))) found.push(Number(name));
  }
  return found;
}
