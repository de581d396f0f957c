import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { readMetricsRows } from "../train/metrics_rows.ts";
import { type Report, reportHtml, type ReportRow } from "../train/report.ts";
import { chartHtml } from "../train/report_chart.ts";
import {
  linearScale,
  logScale,
  type Point,
  shortNumber,
  smooth,
  spread,
  stretches,
} from "../train/report_series.ts";
import { shellLine } from "../train/shell_words.ts";
import { uploadHint } from "../train/wandb_hint.ts";

function rows(count: number): ReportRow[] {
  return Array.from({ length: count }, (_, i) => ({
    step: i + 1,
    epoch: i < count / 2 ? 1 : 2,
    loss: 8 - 6 * i / count,
    aux_loss: 0,
    lr: 1e-4,
    grad_norm: i === 2 ? null : 100 / (i + 1),
    tokens: 1000,
    samples: 8,
    seconds: 0.5,
  }));
}

const BASE: Report = {
  title: "run",
  state: "finished",
  date: new Date(0),
  metrics: rows(20),
  settings: {},
  hardware: {},
  versions: {},
};

Deno.test("a report has a curve of each number that there is, and the run's sums", () => {
  const html = reportHtml(BASE);
  const titles = [...html.matchAll(/<h3>(.*?)<\/h3>/g)].map(([, title]) => title);
  assertEquals(titles, ["Loss", "Gradient norm", "Learning rate", "Tokens a second"]);
  const tile = (name: string) =>
    new RegExp(`<dt>${name}</dt><dd>(.*?)</dd>`).exec(html)?.[1]?.replace(
      /<small>|<\/small>/g,
      "|",
    );
  assertEquals(tile("Updates"), "20|epoch 2|");
  assertEquals(tile("Tokens"), "20,000|2,000 a second|");
  assertEquals(tile("Time"), "0:10|in training steps|");
  assert(html.includes("1 update had no finite gradient."));
  assert(!html.includes("Does it see?") && !/NaN|undefined|Infinity/.test(html));
});

Deno.test("a validation adds the best loss and what shuffled pictures cost", () => {
  const html = reportHtml({
    ...BASE,
    metrics: rows(20).map((row, i) => ({ ...row, loss_scale: i < 9 ? 65536 : 32768 })),
    validation: [
      { step: 10, loss: 4, blind_loss: 4.5 },
      { step: 15, loss: 2.5, blind_loss: 4.1 },
      { step: 20, loss: 3, blind_loss: 4 },
    ],
  });
  assert(html.includes("<dd>2.5<small>at update 15</small></dd>"));
  assert(html.includes("<dt>Gain by pictures</dt><dd>1<"));
  assert(html.includes("<h3>Does it see?</h3>") && html.includes("<h3>Loss scale</h3>"));
});

Deno.test("nothing in a report can leave its place or reach the network", () => {
  const evil =
    `</style><script src="//x">alert('1')</script><img onerror=x src=http://x>"&\x1b[31m`;
  const html = reportHtml({
    ...BASE,
    title: evil,
    command: ["deno", "task", evil],
    settings: { [evil]: evil, list: [evil] },
    hardware: { adapter: evil },
    versions: { deno: evil },
    notes: [evil],
    metrics: [...rows(2), { step: 3, [evil]: 1 }, { step: 4, [evil]: 2 }],
    samples: [
      {
        step: 4,
        prompt: evil,
        answer: evil,
        expected: evil,
        picture: { bytes: Uint8Array.of(1, 2, 3), type: "image/png" },
      },
      {
        step: 4,
        prompt: "p",
        answer: "",
        picture: { bytes: Uint8Array.of(1), type: 'x"onload=1' },
      },
    ],
  });
  const tags = [...html.matchAll(/<(\w+)/g)].map(([, tag]) => tag!);
  assert(!tags.includes("script") && !html.includes("onload=1"));
  assertEquals([...html.matchAll(/<img[^>]*>/g)].map(([tag]) => tag), [
    '<img alt="" src="data:image/png;base64,AQID">',
  ]);
  for (const [, value] of html.matchAll(/\s(?:src|href|url|style)\s*=\s*"([^"]*)"/g)) {
    assert(value!.startsWith("data:"), value);
  }
  assert(!html.includes("\x1b") && !/@import|url\(/.test(html));
  assertEquals(html.split("<style>").length, 2);
  assertEquals(html.split("</style>").length, 2);
  assert(html.includes(`default-src 'none'; style-src 'unsafe-inline'; img-src data:`));
});

Deno.test("every tag of a report is closed in its place", () => {
  const html = reportHtml({
    ...BASE,
    settings: { a: null, b: true, c: { d: 1 } },
    samples: [{ step: 1, prompt: "p", answer: "a" }, { step: 2, prompt: "p", answer: "a" }],
  });
  const open: string[] = [];
  for (const [, end, name, rest] of html.matchAll(/<(\/?)(\w+)([^>]*)>/g)) {
    if (["meta", "img"].includes(name!) || rest!.endsWith("/")) continue;
    if (end) assertEquals(open.pop(), name);
    else open.push(name!);
  }
  assertEquals(open, []);
});

Deno.test("reports of runs without updates, with one, and with many are small pages", () => {
  for (const count of [0, 1, 2, 200_000]) {
    const html = reportHtml({ ...BASE, metrics: rows(count) });
    assert(html.length < 500_000, `${count}: ${html.length}`);
    assert(!/NaN|Infinity|undefined/.test(html), String(count));
  }
});

Deno.test("a chart stays within its frame, whatever the values", () => {
  const points = [3, 1e-9, 50, 7, 7, 1e6].map((y, i): Point => [i, y]);
  for (const log of [true, false]) {
    const html = chartHtml({
      title: "t",
      curves: [
        { name: "a", points: [...points, [6, NaN]], color: "first" },
        { name: "b", points: [[2, 4]], color: "second", dots: true },
      ],
      size: [504, 210],
      log,
    });
    const line = [...html.matchAll(/class="line first" d="M([\d. L]+)"/g)][0]![1]!;
    const places = line.split(/[ L]/).map(Number);
    assertEquals(places.length, 12);
    places.forEach((place, i) => assert(place >= 0 && place <= (i % 2 ? 210 : 504)));
  }
  assertEquals(chartHtml({ title: "t", curves: [], size: [504, 210] }), "");
});

Deno.test("smoothing keeps level and slope, and calms noise", () => {
  const line = Array.from({ length: 200 }, (_, i): Point => [i, 3 + 2 * i]);
  for (const [x, y] of smooth(line, 10).slice(50, 150)) assertAlmostEquals(y, 3 + 2 * x, 0.01);
  const noise = line.map(([x], i): Point => [x, i % 2]);
  for (const [, y] of smooth(noise, 30).slice(20, 180)) assertAlmostEquals(y, 0.5, 0.05);
  assertEquals(smooth([[1, 5]], 4), [[1, 5]]);
});

Deno.test("stretches hold every value between their least and greatest", () => {
  const points = Array.from({ length: 1003 }, (_, i): Point => [i, Math.sin(i * i)]);
  const parts = stretches(points, 100);
  assertEquals(parts.length, 100);
  assertEquals(Math.max(...parts.map(({ max }) => max)), Math.max(...points.map(([, y]) => y)));
  assertEquals(Math.min(...parts.map(({ min }) => min)), Math.min(...points.map(([, y]) => y)));
  assertEquals(spread(points, 7).map(([x]) => x), [0, 167, 334, 501, 668, 835, 1002]);
});

Deno.test("axes have round ticks within their range", () => {
  assertEquals(linearScale(0, 10, 5).ticks, [0, 2, 4, 6, 8, 10]);
  assertEquals(linearScale(1, 3, 8, true).ticks, [1, 2, 3]);
  assertEquals(linearScale(0.13, 0.31, 4).ticks, [0.15, 0.2, 0.25, 0.3]);
  assertEquals(linearScale(5, 5, 4).place(5), 0.5);
  assertEquals(logScale(0.5, 2000).ticks, [1, 10, 100, 1000]);
  assertEquals(logScale(1, 100).place(10), 0.5);
});

Deno.test("numbers in few characters", () => {
  const cases: [number, string][] = [
    [0, "0"],
    [2.14567, "2.146"],
    [4e-4, "4e-4"],
    [3.1416e-5, "3.142e-5"],
    [1234.4, "1,234"],
    [123456, "123.5k"],
    [4.13e6, "4.13M"],
    [-0.5, "-0.5"],
  ];
  for (const [value, text] of cases) assertEquals(shortNumber(value), text);
});

Deno.test("words are quoted so that a shell reads them back", async () => {
  const words = [
    "plain",
    "",
    "it's",
    "a b",
    "$HOME",
    "tab\there",
    "\x1b[31mred\\'",
    "naïve;rm",
    "–",
  ];
  const line = shellLine(words);
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x1f]/.test(line));
  assertEquals(shellLine(["deno", "task", "--lr=1e-4", "a/b.ts"]), "deno task --lr=1e-4 a/b.ts");
  const { state } = await Deno.permissions.query({ name: "run", command: "bash" });
  if (state !== "granted" || Deno.build.os === "windows") return;
  const { stdout } = await new Deno.Command("bash", {
    args: ["-c", `printf '%s\\0' ${line}`],
  }).output();
  assertEquals(new TextDecoder().decode(stdout).split("\0").slice(0, -1), words);
});

Deno.test("the hint for Weights & Biases names folder and project", () => {
  const hint = uploadHint("check points/run", "Mini V");
  assert(hint.includes("wandb sync --sync-tensorboard --project 'Mini V' 'check points/run'"));
  assert(hint.includes("swanlab convert -t tensorboard --tb-log-dir 'check points/run'"));
});

Deno.test("a metrics file gives the rows of updates and of validations", async () => {
  const path = await Deno.makeTempFile();
  try {
    const lines = [
      { step: 1, loss: 3, note: "x" },
      { step: 1, val_loss: 2.5, blind_loss: 2.75 },
      { step: 2, loss: null },
      7,
      { step: "3" },
    ];
    const cut = '{"step":3,"lo';
    await Deno.writeTextFile(path, lines.map((line) => JSON.stringify(line) + "\n").join("") + cut);
    assertEquals(await readMetricsRows(path), {
      updates: [{ step: 1, loss: 3 }, { step: 2, loss: null }],
      validation: [{ step: 1, loss: 2.5, blind_loss: 2.75 }],
    });
  } finally {
    await Deno.remove(path);
  }
});
