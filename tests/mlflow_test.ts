import { assert, assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../kernels/runtime/errors.ts";
import { MlflowTracker, type Patience } from "../train/mlflow.ts";
import { artifactPath } from "../train/mlflow_client.ts";
import { openTracker } from "../train/open_tracker.ts";
import type { TrackerOptions } from "../train/tracker.ts";
import { MlflowServer } from "./support/mlflow_server.ts";

const QUICK: Partial<Patience> = { interval: 5, firstDelay: 5, longestDelay: 20, atEnd: 60_000 };

/** Runs a test with a server and a folder of its own. */
function withServer(
  body: (server: MlflowServer, options: TrackerOptions, warnings: string[]) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const folder = await Deno.makeTempDir();
    const warnings: string[] = [];
    try {
      await using server = new MlflowServer();
      const warn = (text: string) => void warnings.push(text);
      const { address: trackingUri } = server;
      await body(
        server,
        { folder, runName: "run", project: "Vision", trackingUri, warn },
        warnings,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
}

Deno.test(
  "a run reaches the server with its numbers, settings, files and end",
  withServer(async (server, options, warnings) => {
    {
      await using tracker = await openTracker("mlflow", options);
      tracker.settings({
        learning_rate: 4e-4,
        moe: false,
        "odd§name": "x".repeat(2000),
        none: undefined,
      });
      tracker.scalars(1, { "train/loss": 2.5, "train/lr": 1e-4 });
      tracker.scalars(2, { "train/loss": NaN, "train/norm": Infinity });
      tracker.text(2, "sample/0", "Ein Bild: 世界");
      tracker.image(2, "../up//sample: 0", Uint8Array.of(1, 2, 3), 1, 1);
      tracker.end("finished");
    }
    const [run, ...others] = server.runs;
    assertEquals(others, []);
    assertEquals([run!.name, run!.experiment, run!.status], ["run", "Vision", "FINISHED"]);
    assert(Math.abs(Date.now() - run!.ended!) < 60_000);
    assertEquals(run!.metrics.map(({ key, value, step }) => [key, value, step]), [
      ["train/loss", 2.5, 1],
      ["train/lr", 1e-4, 1],
      ["train/loss", "NaN", 2],
      ["train/norm", "Infinity", 2],
    ]);
    assert(run!.metrics.every(({ timestamp }) => Number.isInteger(timestamp)));
    assertEquals(Object.fromEntries(run!.params), {
      learning_rate: "0.0004",
      moe: "false",
      odd_name: "x".repeat(500),
      none: "",
    });
    assertEquals([...server.files], [
      ["1/run0/artifacts/sample/0/step-00000002.txt", new TextEncoder().encode("Ein Bild: 世界")],
      ["1/run0/artifacts/up/sample_ 0/step-00000002.png", Uint8Array.of(1, 2, 3)],
    ]);
    assertEquals(warnings, []);
  }),
);

Deno.test(
  "batches keep to MLflow's limits and to the order",
  withServer(async (server, options) => {
    {
      await using tracker = await openTracker("mlflow", options);
      tracker.settings(Object.fromEntries(Array.from({ length: 230 }, (_, i) => [`s${i}`, i])));
      for (let step = 1; step <= 1500; step++) tracker.scalars(step, { loss: step, lr: -step });
    }
    const { metrics, params } = server.runs[0]!;
    assertEquals(params.size, 230);
    const losses = metrics.filter(({ key }) => key === "loss").map(({ value }) => value);
    assertEquals(losses, Array.from({ length: 1500 }, (_, i) => i + 1));
  }),
);

Deno.test(
  "whatever the server fails at, all of it arrives once and in order, and it is said once",
  withServer(async (server, options, warnings) => {
    let count = 0;
    const troubles = [503, "hang up", 429, 500] as const;
    server.trouble = () => count++ % 5 < 2 ? troubles[count % 4] : undefined;
    {
      await using tracker = await MlflowTracker.open(options, QUICK);
      tracker.settings({ a: 1 });
      for (let step = 1; step <= 20; step++) {
        tracker.scalars(step, { loss: step });
        if (step % 10 === 0) tracker.text(step, "note", `at ${step}`);
        await tracker.flush();
      }
      tracker.end("stopped");
    }
    const run = server.runs.at(-1)!;
    assertEquals(run.status, "KILLED");
    assertEquals(
      run.metrics.map(({ value }) => value),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    assertEquals(run.params.get("a"), "1");
    assertEquals(server.files.size, 2);
    assertEquals(warnings.length, 1);
    assert(/MLflow at 127\.0\.0\.1:\d+ cannot be reached .*training goes on/.test(warnings[0]!));
  }),
);

Deno.test(
  "what waits is sent in the background, without being asked",
  withServer(async (server, options) => {
    await using tracker = await MlflowTracker.open(options, QUICK);
    tracker.scalars(1, { loss: 1 });
    while (!server.runs[0]?.metrics.length) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(server.runs[0]?.metrics.length, 1);
  }),
);

Deno.test(
  "a server that never answers costs a sentence at the start and one at the end",
  withServer(async (_server, options, warnings) => {
    const closed = { ...options, trackingUri: "http://name:secret@127.0.0.1:9" };
    {
      await using tracker = await MlflowTracker.open(closed, { ...QUICK, atEnd: 30 });
      tracker.scalars(1, { loss: 1 });
      await tracker.flush();
      tracker.scalars(2, { loss: 2 });
    }
    assertEquals(warnings.length, 2);
    assertEquals(warnings[1], "2 values or files did not reach MLflow at 127.0.0.1:9.");
    assert(!warnings.join().includes("secret"));
  }),
);

Deno.test(
  "what the server calls wrong is left out, and the rest goes on",
  withServer(async (server, options, warnings) => {
    let refused = 0;
    server.trouble = (path) => path.endsWith("log-batch") && refused++ === 0 ? 400 : undefined;
    {
      await using tracker = await MlflowTracker.open(options, QUICK);
      tracker.scalars(1, { loss: 1 });
      await tracker.flush();
      tracker.scalars(2, { loss: 2 });
      tracker.end("finished");
    }
    assertEquals(server.runs[0]!.metrics.map(({ step }) => step), [2]);
    assertEquals(server.runs[0]!.status, "FINISHED");
    assert(warnings[0]!.includes("refused some values"), warnings[0]);
    assert(warnings[1]!.includes("did not reach MLflow"), warnings[1]);
    assertEquals(warnings.length, 2);
  }),
);

Deno.test(
  "a server that refuses the run is left alone",
  withServer(async (server, options, warnings) => {
    server.trouble = () => 401;
    {
      await using tracker = await MlflowTracker.open(options, QUICK);
      tracker.scalars(1, { loss: 1 });
      await tracker.flush();
      tracker.scalars(2, { loss: 2 });
      await tracker.flush();
    }
    assertEquals(server.requests.length, 1);
    assert(warnings[0]!.includes("401"), warnings[0]);
    assertEquals(warnings.length, 2);
  }),
);

Deno.test(
  "a run that is continued is the same run, unless the server has lost it",
  withServer(async (server, options, warnings) => {
    for (const firstStep of [undefined, 3]) {
      const part = firstStep === undefined ? options : { ...options, firstStep };
      await using tracker = await openTracker("mlflow", part);
      tracker.settings({ from_resume: firstStep !== undefined });
      tracker.scalars(firstStep ?? 1, { loss: 1 });
      tracker.end("stopped");
    }
    assertEquals(server.runs.length, 1);
    assertEquals(server.runs[0]!.metrics.map(({ step }) => step), [1, 3]);
    assertEquals(server.runs[0]!.params.get("from_resume"), "false");
    server.runs.length = 0;
    {
      await using tracker = await openTracker("mlflow", { ...options, firstStep: 5 });
      tracker.scalars(5, { loss: 1 });
    }
    assertEquals(server.runs[0]!.metrics.map(({ step }) => step), [5]);
    assertEquals(server.runs[0]!.status, "FAILED");
    assertEquals(warnings, []);
  }),
);

Deno.test(
  "files that only MLflow's own client can store are left out with a sentence",
  withServer(async (server, options, warnings) => {
    server.artifactRoot = "s3://bucket";
    {
      await using tracker = await openTracker("mlflow", options);
      tracker.text(1, "note", "text");
      tracker.scalars(1, { loss: 1 });
    }
    assertEquals([server.files.size, server.runs[0]!.metrics.length], [0, 1]);
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes("s3://bucket"));
  }),
);

Deno.test(
  "name and password go into a header, never into a sentence or a file",
  withServer(async (server, options, warnings) => {
    const trackingUri = server.address.replace("//", "//name:p%40ss@");
    {
      await using tracker = await openTracker("mlflow", { ...options, trackingUri });
      tracker.scalars(1, { loss: 1 });
    }
    for (const { authorization } of server.requests) {
      assertEquals(authorization, `Basic ${btoa("name:p@ss")}`);
    }
    assert(server.requests.length > 0);
    const file = await Deno.readTextFile(`${options.folder}/mlflow.json`);
    assert(!/p%40ss|p@ss/.test(file + warnings.join()));
  }),
);

Deno.test("an address that is no server's is refused", async () => {
  const options = { folder: ".", runName: "r", project: "p", warn: () => {} };
  for (const trackingUri of ["sqlite:///mlflow.db", "./mlruns", "file:///mlruns"]) {
    const error = await assertRejects(
      () => openTracker("mlflow", { ...options, trackingUri }),
      UsageError,
    );
    assert(error.message.includes(trackingUri));
  }
});

Deno.test("without the network's permission, the error says how to give it", async () => {
  const code = `
    import { openTracker } from ${
    JSON.stringify(new URL("../train/open_tracker.ts", import.meta.url))
  };
    const options = { folder: ".", runName: "r", project: "p", warn: console.warn };
    for (const trackingUri of ["http://127.0.0.1:5000", undefined]) {
      await openTracker("mlflow", { ...options, trackingUri }).catch((error) =>
        console.log(error.name + ": " + error.message));
    }`;
  const config = new URL("../deno.json", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", "--config", config, "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const text = new TextDecoder().decode((await child.output()).stdout);
  const [denied, missing] = text.split("\n");
  assert(
    denied!.startsWith("UsageError: ") && denied!.includes("--allow-net=127.0.0.1:5000"),
    text,
  );
  assert(missing!.startsWith("UsageError: ") && missing!.includes("--tracking_uri"), text);
});

Deno.test("paths of files stay within the run", () => {
  assertEquals(artifactPath("a/../../b"), "a/b");
  assertEquals(artifactPath("/"), "_");
  assertEquals(artifactPath("päth\\x:y"), "p_th_x_y");
});
