import { assertEquals } from "@std/assert";
import type { StepMetrics } from "../train/metrics.ts";
import { type Progress, ProgressReport } from "../train/progress.ts";

/** What a report prints of updates of 30 seconds each, at these batches. */
function printed(terminal: boolean, places: readonly (Partial<Progress> & { step: number })[]) {
  const lines: string[] = [];
  const report = new ProgressReport(terminal, 1, (text) => lines.push(text));
  places.forEach((at, i) => {
    const metrics: StepMetrics = {
      step: i + 1,
      epoch: at.epoch ?? 1,
      loss: 2,
      aux_loss: 0.5,
      lr: 1e-3,
      grad_norm: 1,
      tokens: 300,
      samples: 3,
      seconds: 30,
    };
    const progress = { epoch: 1, epochs: 2, steps: 10, begun: 0, maxSteps: Infinity, ...at };
    report.show(progress, metrics, { paddedTokens: 600, memory: 2 ** 20 });
  });
  return lines;
}

const minutes = (lines: readonly string[]) =>
  lines.map((line) => /epoch_Time:(.*)min:\n$/.exec(line)![1]);
const left = (lines: readonly string[]) => lines.map((line) => /(\S+) left$/.exec(line)![1]);

Deno.test("a log line is the original's, with the minutes that the epoch still takes", () => {
  assertEquals(printed(false, [{ step: 4 }]), [
    "Epoch:[1/2](4/10) loss:2.500000 lr:0.001000000000 epoch_Time:0.8min:\n",
  ]);
  assertEquals(minutes(printed(false, [{ step: 1 }, { step: 2 }, { step: 10 }])), [
    "4.5",
    "4.0",
    "0.0",
  ]);
});

Deno.test("what an earlier process has done does not count as quick", () => {
  assertEquals(minutes(printed(false, [{ step: 8, begun: 7 }, { step: 10, begun: 7 }])), [
    "1.0",
    "0.0",
  ]);
});

Deno.test("a terminal shows the time to the end, which --max_steps brings nearer", () => {
  const places = [{ step: 1 }, { step: 2 }, { step: 1, epoch: 2 }];
  assertEquals(left(printed(true, places)), ["9:30", "9:00", "4:30"]);
  assertEquals(left(printed(true, places.map((at) => ({ ...at, maxSteps: 3 })))), [
    "1:00",
    "0:30",
    "0:00",
  ]);
});
