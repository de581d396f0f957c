import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { crc32c } from "../train/event_file.ts";
import { TensorBoardTracker } from "../train/tensorboard.ts";
import { openTracker } from "../train/open_tracker.ts";
import type { TrackerOptions } from "../train/tracker.ts";
import {
  at,
  bytesAt,
  type Event,
  type Fields,
  numberAt,
  readEvents,
  readMessage,
  textAt,
} from "./support/event_file_reader.ts";

function inFolder(
  body: (options: TrackerOptions, warnings: string[]) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const folder = await Deno.makeTempDir();
    const warnings: string[] = [];
    try {
      await body(
        { folder, runName: "run", project: "project", warn: (text) => warnings.push(text) },
        warnings,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
}

async function eventsOf(folder: string): Promise<Event[][]> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  return Promise.all(names.map(async (name) => {
    assert(/^events\.out\.tfevents\.\d+\./.test(name), name);
    return readEvents(await Deno.readFile(join(folder, name)));
  }));
}

/** The values of an event's summary. */
function valuesOf({ fields }: Event): Fields[] {
  const summary = readMessage(bytesAt(fields, 5));
  return (summary.get(1) ?? []).map((value) => readMessage(value as Uint8Array));
}

const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10);

Deno.test("the checksum is CRC-32C", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
});

Deno.test(
  "an event file holds numbers, texts and pictures with their steps",
  inFolder(async (options) => {
    const before = Date.now() / 1000;
    {
      await using tracker = await openTracker("tensorboard", options);
      tracker.scalars(1, { "train/loss": 2.5, "train/lr": 1e-3 });
      tracker.scalars(300, { "train/loss": NaN });
      tracker.text(2 ** 40, "sample", "Ein Bild: 世界");
      tracker.image(7, "sample", PNG, 640, 480);
      tracker.end("finished");
    }
    const [events] = await eventsOf(options.folder);
    const [version, start, both, notANumber, text, image, ...more] = events!;
    assertEquals(more, []);
    assertEquals(textAt(version!.fields, 3), "brain.Event:2");
    assertEquals([start!.step, numberAt(at(start!.fields, 7), 1)], [0, 1]);

    assertEquals(both!.step, 1);
    assert(both!.wallTime >= before && both!.wallTime <= Date.now() / 1000);
    assertEquals(valuesOf(both!).map((value) => [textAt(value, 1), numberAt(value, 2)]), [
      ["train/loss", 2.5],
      ["train/lr", Math.fround(1e-3)],
    ]);
    assertEquals(notANumber!.step, 300);
    assertEquals(numberAt(valuesOf(notANumber!)[0]!, 2), NaN);

    const [shown] = valuesOf(text!);
    assertEquals([text!.step, textAt(shown!, 1)], [2 ** 40, "sample/text_summary"]);
    assertEquals(textAt(at(shown!, 8), 8), "Ein Bild: 世界");
    assertEquals(numberAt(at(shown!, 8), 1), 7);
    assertEquals(textAt(at(shown!, 9, 1), 1), "text");

    const picture = at(valuesOf(image!)[0]!, 4);
    assertEquals([1, 2, 3].map((field) => numberAt(picture, field)), [480, 640, 3]);
    assertEquals(bytesAt(picture, 4), PNG);
  }),
);

Deno.test(
  "settings are a text and a row of the table of hyperparameters",
  inFolder(async (options) => {
    {
      await using tracker = await openTracker("tensorboard", options);
      tracker.settings({ lr: 4e-4, moe: false, path: "a|b", layers: [1, 2], missing: undefined });
    }
    const [text, table] = (await eventsOf(options.folder))[0]!.slice(2).map((e) => valuesOf(e)[0]!);
    assertEquals(
      textAt(at(text!, 8), 8),
      "| setting | value |\n|---|---|\n| lr | 0.0004 |\n| moe | false |\n| path | a\\|b |\n" +
        "| layers | \\[1,2\\] |\n| missing |  |",
    );
    assertEquals(textAt(table!, 1), "_hparams_/session_start_info");
    assertEquals(textAt(at(table!, 9, 1), 1), "hparams");
    const start = at(table!, 9, 1, 2, 3);
    const settings = start.get(1)!.map((entry) => {
      const fields = readMessage(entry as Uint8Array);
      const value = at(fields, 2);
      const read = value.has(2)
        ? numberAt(value, 2)
        : value.has(4)
        ? numberAt(value, 4) === 1
        : textAt(value, 3);
      return [textAt(fields, 1), read];
    });
    assertEquals(settings, [
      ["lr", 4e-4],
      ["moe", false],
      ["path", "a|b"],
      ["layers", "[1,2]"],
      ["missing", ""],
    ]);
    assertEquals(textAt(start, 4), "run");
  }),
);

Deno.test(
  "a run that is continued gets a new file that replaces later steps",
  inFolder(async (options) => {
    for (const firstStep of [undefined, 300]) {
      const part = firstStep === undefined ? options : { ...options, firstStep };
      await using tracker = await openTracker("tensorboard", part);
      tracker.scalars(firstStep ?? 1, { loss: 1 });
    }
    const files = await eventsOf(options.folder);
    assertEquals(files.map((events) => events.length), [3, 3]);
    assertEquals(files.map((events) => events[1]!.step).sort(), [0, 300]);
  }),
);

Deno.test(
  "events are on the disk before the tracker is closed, and a torn end harms nothing before it",
  inFolder(async (options) => {
    await using tracker = await TensorBoardTracker.open(options);
    for (let step = 1; step <= 5; step++) tracker.scalars(step, { loss: step });
    const whole = await Deno.readFile(tracker.path);
    assertEquals(readEvents(whole).length, 7);
    for (let cut = 1; cut < 30; cut++) {
      assertEquals(readEvents(whole.subarray(0, whole.length - cut)).length, 6);
    }
  }),
);

Deno.test(
  "a write that fails half-way leaves no piece, is said once, and later writes go on",
  inFolder(async (options, warnings) => {
    const { writeSync } = Deno.FsFile.prototype;
    await using tracker = await TensorBoardTracker.open(options);
    tracker.scalars(1, { loss: 1 });
    let calls = 0;
    Deno.FsFile.prototype.writeSync = function (bytes: Uint8Array): number {
      if (calls++ % 2 === 0) return writeSync.call(this, bytes.subarray(0, 9));
      throw new Error("No space left on device");
    };
    try {
      tracker.scalars(2, { loss: 2 });
      tracker.text(2, "note", "lost too");
    } finally {
      Deno.FsFile.prototype.writeSync = writeSync;
    }
    assertEquals(calls, 4);
    tracker.scalars(3, { loss: 3 });
    const steps = readEvents(await Deno.readFile(tracker.path)).map(({ step }) => step);
    assertEquals(steps, [0, 0, 1, 3]);
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes("No space left") && warnings[0]!.includes(tracker.path));
  }),
);

Deno.test(
  "a folder that cannot be made is an error that names it",
  inFolder(async (options) => {
    const file = join(options.folder, "file");
    await Deno.writeTextFile(file, "");
    const error = await assertRejects(
      () => openTracker("tensorboard", { ...options, folder: join(file, "events") }),
      GlimpseError,
    );
    assert(error.message.includes(file));
  }),
);

Deno.test(
  "no tracker takes everything and writes nothing",
  inFolder(async (options) => {
    {
      await using tracker = await openTracker("none", options);
      tracker.settings({ a: 1 });
      tracker.scalars(1, { loss: 1 });
      tracker.end("finished");
      await tracker.flush();
    }
    assertEquals(await eventsOf(options.folder), []);
  }),
);
