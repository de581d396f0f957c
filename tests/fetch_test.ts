import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { TransferReport } from "../cli/transfer_report.ts";
import { CATALOG } from "../data/fetch/catalog.ts";
import { fetchFiles, transfersTo } from "../data/fetch/fetch_files.ts";
import { Http, type HttpOptions } from "../data/fetch/http.ts";
import { huggingFace, modelScope } from "../data/fetch/hubs.ts";
import { findFiles, type RemoteFile, selectFiles } from "../data/fetch/repository.ts";
import { FormatError, GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import {
  breakAfter,
  type HubServer,
  sendFile,
  serveHub,
  stallAfter,
} from "./support/hub_server.ts";

const SMALL = new TextEncoder().encode('{"model_type": "clip"}');
const LARGE = Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) % 251);
const FILES = { "config.json": SMALL, "folder/weights.bin": LARGE };

/** Fetches all files of the hub's repository and tells what happened. */
async function fetchAll(
  hub: HubServer,
  folder: string,
  { force = false, onBytes, ...http }: HttpOptions & {
    force?: boolean;
    onBytes?: (bytes: number) => void;
  } = {},
): Promise<{ count: number; present: string[]; progress: number[]; retries: [string, number][] }> {
  const retries: [string, number][] = [];
  const client = new Http({
    pause: 1,
    onRetry: (why, after) => retries.push([why, after]),
    tokenFor: hub.endpoint,
    ...http,
  });
  const present: string[] = [], progress: number[] = [];
  const files = await huggingFace(hub.endpoint).list({ id: "owner/name", type: "model" }, client);
  const count = await fetchFiles(transfersTo(files, folder, "the hub"), client, {
    jobs: 2,
    force,
    listener: {
      present: ({ file }) => present.push(file.path),
      progress: ({ file }, bytes) => {
        if (file.size !== LARGE.length) return;
        progress.push(bytes);
        onBytes?.(bytes);
      },
      done: () => {},
    },
  });
  return { count, present, progress, retries };
}

async function withHub(
  action: (hub: HubServer, folder: string) => Promise<void>,
  files: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = FILES,
): Promise<void> {
  await using hub = serveHub(files);
  const folder = await Deno.makeTempDir();
  try {
    await action(hub, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const weights = (folder: string) => join(folder, "folder", "weights.bin");

/** All files below a folder. */
function tree(folder: string, prefix = ""): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? tree(join(folder, name), `${prefix}${name}/`) : [prefix + name]
  ).sort();
}

Deno.test("files are fetched by way of another origin, which sees no token; then they are there", () =>
  withHub(async (hub, folder) => {
    const first = await fetchAll(hub, folder, { token: "secret" });
    assertEquals([first.count, first.present], [2, []]);
    assertEquals(tree(folder), ["config.json", "folder/weights.bin"]);
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
    assertEquals(await Deno.readFile(join(folder, "config.json")), SMALL);
    for (const { url, token } of hub.requests) {
      const atHub = url.startsWith("/api/") || url.startsWith("/owner/");
      assertEquals(token, atHub ? "Bearer secret" : null, url);
    }
    assert(
      hub.requests.some(({ url }) => /\/resolve\/[0-9a-f]{40}\/folder\/weights.bin$/.test(url)),
    );
    const before = hub.requests.length;
    const second = await fetchAll(hub, folder);
    assertEquals([second.count, second.present], [0, ["config.json", "folder/weights.bin"]]);
    assertEquals(hub.requests.length, before + 1);
  }));

Deno.test("broken connections are continued where they broke", () =>
  withHub(async (hub, folder) => {
    hub.faults.set("folder/weights.bin", [breakAfter(50_000), breakAfter(60_000), breakAfter(0)]);
    const { retries } = await fetchAll(hub, folder, { retries: 2 });
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
    const ranges = hub.requests.filter(({ url }) => url === "/folder/weights.bin").map((r) =>
      r.range
    );
    assertEquals(ranges, [null, "bytes=50000-", "bytes=110000-", "bytes=110000-"]);
    assertEquals(retries.length, 3);
  }));

Deno.test("busy and broken servers are asked again, as late as they wish", () =>
  withHub(async (hub, folder) => {
    const busy = () => new Response("slow down", { status: 429, headers: { "retry-after": "0" } });
    const later = () => {
      const date = new Date(Date.now() - 5000).toUTCString();
      return new Response("later", { status: 503, headers: { "retry-after": date } });
    };
    hub.listFaults.push(busy, () => new Response("oops", { status: 500 }));
    hub.faults.set("config.json", [later, () => new Response("oops", { status: 500 })]);
    const { retries } = await fetchAll(hub, folder);
    assertEquals(retries.map(([, after]) => after === 0), [true, false, true, false]);
    assert(retries[0]![0].includes("asks for fewer requests (429)"), retries[0]![0]);
    assert(retries[1]![1] >= 1 && retries[1]![1] <= 2, String(retries[1]));
    assertEquals(tree(folder), ["config.json", "folder/weights.bin"]);
  }));

Deno.test("a server that stays broken is given up, and the other files come all the same", () =>
  withHub(async (hub, folder) => {
    hub.faults.set("folder/weights.bin", Array(9).fill(() => new Response("", { status: 500 })));
    const error = await assertRejects(() => fetchAll(hub, folder, { retries: 2 }), GlimpseError);
    assert(/is in trouble \(500\); given up after 3 tries\.$/.test(String(error)), String(error));
    assertEquals(tree(folder), ["config.json"]);
  }));

Deno.test("a connection that falls silent is dropped", () =>
  withHub(async (hub, folder) => {
    hub.faults.set("folder/weights.bin", [stallAfter(1000)]);
    const { retries } = await fetchAll(hub, folder, { patience: 1000 });
    assert(retries[0]![0].includes("nothing was heard for 1 s"), String(retries));
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
  }));

Deno.test("a server without ranges sends the file anew", () =>
  withHub(async (hub, folder) => {
    hub.faults.set("folder/weights.bin", [
      breakAfter(50_000),
      (_, content) => new Response(content),
    ]);
    await fetchAll(hub, folder);
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
  }));

Deno.test("an answer of another range or length is not taken", () =>
  withHub(async (hub, folder) => {
    const wrong = (request: Request, content: Uint8Array<ArrayBuffer>) => {
      const { body, status } = sendFile(request, content);
      return new Response(body, { status, headers: { "content-range": "bytes 7-9/10" } });
    };
    const short = () =>
      new Response(LARGE.slice(0, 1000), { headers: { "content-length": "1000" } });
    hub.faults.set("folder/weights.bin", [short, breakAfter(1000), wrong]);
    const { retries } = await fetchAll(hub, folder);
    assert(retries[0]![0].includes("announces 1000 bytes"), String(retries));
    assert(retries[2]![0].includes("cannot continue folder/weights.bin (206)"), String(retries));
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
  }));

Deno.test("more bytes than there should be are refused", () =>
  withHub(async (hub, folder) => {
    const long = () => {
      const parts = new Blob([LARGE, SMALL]).stream();
      return new Response(parts);
    };
    hub.faults.set("folder/weights.bin", [long]);
    const error = await assertRejects(() => fetchAll(hub, folder), FormatError);
    assert(String(error).includes("sends more than the 200000 bytes"), String(error));
  }));

Deno.test("a wrong checksum costs a second try and is then an error that keeps nothing", () =>
  withHub(async (hub, folder) => {
    const spoilt = LARGE.slice().fill(0, 10, 20);
    hub.faults.set("folder/weights.bin", [(request) => sendFile(request, spoilt)]);
    await fetchAll(hub, folder);
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
    for (const [path, digits] of [["folder/weights.bin", 64], ["config.json", 40]] as const) {
      await Deno.remove(folder, { recursive: true });
      hub.lies.clear();
      hub.lies.set(path, "ab".repeat(digits / 2));
      const error = await assertRejects(() => fetchAll(hub, folder), FormatError);
      assert(String(error).includes(`twice sent something else for ${path}`), String(error));
      assert(!tree(folder).some((name) => name.startsWith(path)), String(tree(folder)));
    }
  }));

Deno.test("what stands in the way and differs is replaced only by force", () =>
  withHub(async (hub, folder) => {
    await Deno.writeTextFile(join(folder, "config.json"), "mine");
    const error = await assertRejects(() => fetchAll(hub, folder), GlimpseError);
    assert(String(error).includes("Move it away, or add --force"), String(error));
    assertEquals(await Deno.readTextFile(join(folder, "config.json")), "mine");
    assertEquals((await fetchAll(hub, folder, { force: true })).count, 2);
    assertEquals(await Deno.readFile(join(folder, "config.json")), SMALL);
  }));

Deno.test("stopped half way, the rest is fetched the next time", () =>
  withHub(async (hub, folder) => {
    const stop = new AbortController();
    hub.faults.set("folder/weights.bin", [stallAfter(70_000)]);
    const onBytes = (bytes: number) => bytes === 70_000 && stop.abort();
    await assertRejects(
      () => fetchAll(hub, folder, { signal: stop.signal, onBytes }),
      DOMException,
    );
    const part = tree(folder).find((name) => /^folder\/.*\.part$/.test(name))!;
    assertEquals((await Deno.stat(join(folder, part))).size, 70_000);
    hub.requests.length = 0;
    const { progress } = await fetchAll(hub, folder);
    assertEquals(progress[0], 70_000);
    const request = hub.requests.find(({ url }) => url === "/folder/weights.bin");
    assertEquals(request?.range, "bytes=70000-");
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
    assertEquals(tree(folder).length, 2);
  }));

Deno.test("what is not there, not open or not reachable is said in a sentence", () =>
  withHub(async (hub) => {
    const list = (id: string, endpoint = hub.endpoint, options: HttpOptions = {}) =>
      huggingFace(endpoint).list({ id, type: "model" }, new Http({ retries: 0, ...options }));
    const fails = async (action: () => Promise<unknown>, part: string) => {
      const error = await assertRejects(action, GlimpseError);
      assert(String(error).includes(part), String(error));
    };
    await fails(() => list("owner/other"), "There is no owner/other at main at http://127.0.0.1");
    await fails(() => list("owner"), '"owner" is not the name of a repository');
    await fails(() => list("../x"), "is not the name of a repository");
    hub.listFaults.push(() => new Response("", { status: 401 }));
    await fails(() => list("owner/name"), "Set HF_TOKEN if you have access");
    hub.listFaults.push(() => new Response("", { status: 403 }));
    await fails(() => list("owner/name", undefined, { token: "x" }), "HF_TOKEN does not open it");
    hub.listFaults.push(() => new Response("<html>"));
    await fails(() => list("owner/name"), "with something else than JSON");
    hub.listFaults.push(() => Response.json({ siblings: 3 }));
    await fails(() => list("owner/name"), "with something else than a list of files");
    hub.listFaults.push(() =>
      Response.json({ sha: "ab", siblings: [{ rfilename: "x", size: -1 }] })
    );
    await fails(() => list("owner/name"), "which cannot be");
    await fails(() => list("owner/name", "http://127.0.0.1:9"), "cannot be reached");
  }));

Deno.test("a file has room on the disk and one process that fetches it", () =>
  withHub(async (hub, folder) => {
    const http = new Http({ pause: 1 });
    const files = await huggingFace(hub.endpoint).list({ id: "owner/name", type: "model" }, http);
    const listener = { present: () => {}, progress: () => {}, done: () => {} };
    const huge = files.map((file) => ({ ...file, size: 2 ** 52 }));
    const options = { jobs: 2, force: false, listener };
    const fetchHuge = () => fetchFiles(transfersTo(huge, folder, "the hub"), http, options);
    await assertRejects(fetchHuge, GlimpseError, "are free there");
    const twice = transfersTo([files[1]!, files[1]!], folder, "the hub");
    await assertRejects(
      () => fetchFiles(twice, http, options),
      GlimpseError,
      "is being fetched by another process",
    );
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
  }));

Deno.test("ModelScope lists models, and data sets page by page", () => {
  const many = Object.fromEntries(
    Array.from({ length: 130 }, (_, i) => [`pictures/${i}.txt`, new TextEncoder().encode(`${i}`)]),
  );
  return withHub(async (hub) => {
    const http = new Http();
    const [model, data] = await Promise.all(
      (["model", "dataset"] as const).map((type) =>
        modelScope(hub.endpoint).list({ id: "owner/name", type }, http)
      ),
    );
    assertEquals([model!.length, data!.length], [130, 130]);
    assertEquals(new Set(data!.map(({ path }) => path)).size, 130);
    const { url, checksum } = data![7]!;
    assertEquals(url, `${hub.endpoint}/datasets/owner/name/resolve/master/pictures/7.txt`);
    assertEquals([checksum?.kind, checksum?.hex.length], ["sha256", 64]);
    assertEquals(await (await fetch(url)).text(), "7");
  }, many);
});

Deno.test("a hub cannot name a file outside of the folder", () => {
  const file = (path: string): RemoteFile => ({ path, size: 1, checksum: undefined, url: "" });
  for (const path of ["../x", "/etc/x", "a/../../x", "a//b", "a\\..\\x", "C:/x", "a/\0", "", "."]) {
    const error = assertThrows(() => transfersTo([file(path)], "here", "the hub"), FormatError);
    assert(String(error).includes("would not stay in its folder"), path);
  }
  assertEquals(
    transfersTo([file("a/b.txt")], "here", "the hub")[0]!.path,
    join("here", "a", "b.txt"),
  );
});

Deno.test("patterns choose files, and names have alternatives", () => {
  const files = ["config.json", "a/b.json", "x.bin", "[1].txt"].map((path): RemoteFile => (
    { path, size: 1, checksum: undefined, url: "" }
  ));
  const paths = (list: readonly RemoteFile[]) => list.map(({ path }) => path);
  assertEquals(paths(selectFiles(files, ["*.json"], [])), ["config.json", "a/b.json"]);
  assertEquals(paths(selectFiles(files, [], ["a/*", "?.bin"])), ["config.json", "[1].txt"]);
  assertEquals(paths(selectFiles(files, ["[1].*"], [])), ["[1].txt"]);
  assertEquals(paths(findFiles(files, [["y", "x.bin"], ["config.json"]], "r")), [
    "x.bin",
    "config.json",
  ]);
  const error = assertThrows(() => findFiles(files, [["y", "z"]], "owner/name"), GlimpseError);
  assert(
    String(error).includes("owner/name has no y and no z. It has config.json, a/b"),
    `${error}`,
  );
  for (const { files, folder } of Object.values(CATALOG)) {
    assert(files.length > 0 && !folder.startsWith("/"));
  }
});

Deno.test("progress: log lines in a pipe, bars on a terminal", () => {
  const transfer = {
    file: { path: "w.bin", size: 1_000_000, checksum: undefined, url: "" },
    path: "out/w.bin",
  };
  for (const terminal of [false, true]) {
    let text = "", now = 0;
    const report = new TransferReport(terminal, (part) => void (text += part), () => now);
    report.progress(transfer, 0);
    now = 10_000;
    report.progress(transfer, 500_000);
    report.done(transfer);
    report.end();
    if (terminal) {
      assert(text.includes("w.bin                        ██████████░░░░░░░░░░ 50% of"), text);
    } else {
      assertEquals(text.split("\n"), [
        "out/w.bin: fetching 1.0 MB.",
        "out/w.bin: 50% of 1.0 MB, 50.0 kB/s, 10 s left",
        "out/w.bin: fetched and checked (1.0 MB).",
        "",
      ]);
    }
  }
});

Deno.test("the command: fetches, is stopped by Ctrl-C, goes on, and has no other hosts", () =>
  withHub(async (hub, folder) => {
    const cli = fromFileUrl(new URL("../cli.ts", import.meta.url));
    const start = (what: string[], hosts = hub.endpoint.slice(7) + "," + hub.cdn.slice(7)) =>
      new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--no-prompt", "--allow-read", "--allow-write", "--allow-sys=statfs"],
          ...["--allow-env=HF_TOKEN,HF_ENDPOINT", `--allow-net=${hosts}`, cli, "fetch", ...what],
        ],
        env: { HF_ENDPOINT: hub.endpoint, HF_TOKEN: "secret", NO_COLOR: "1" },
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    const finish = async (child: Deno.ChildProcess) => {
      const { code, stdout, stderr } = await child.output();
      return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
    };
    const what = ["owner/name", "--include", "*.bin", "--to", folder];
    hub.faults.set("folder/weights.bin", [stallAfter(70_000)]);
    const stopped = start(what);
    while (!tree(folder).some((name) => Deno.statSync(join(folder, name)).size === 70_000)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    stopped.kill("SIGINT");
    const first = await finish(stopped);
    assertEquals(first.code, 130, first.text);
    assert(first.text.includes("The same command goes on from here."), first.text);
    const second = await finish(start(what));
    assertEquals(second.code, 0, second.text);
    assert(second.text.includes("70.0 kB of it are there"), second.text);
    assertEquals(await Deno.readFile(weights(folder)), LARGE);
    const refused = await finish(start([...what, "--force"], hub.endpoint.slice(7)));
    assertEquals(refused.code, 0, refused.text);
    await Deno.remove(weights(folder));
    const denied = await finish(start(what, hub.endpoint.slice(7)));
    assertEquals(denied.code, 1);
    assert(denied.text.includes(`no permission to reach ${hub.cdn.slice(7)}`), denied.text);
    const unknown = await finish(start(["clipp"]));
    assertEquals([unknown.code, unknown.text.includes("There is no clipp to fetch")], [2, true]);
  }));

Deno.test("what goes with a repository does not go with a short name", async () => {
  const { run } = await import("../cli/fetch.ts");
  await assertRejects(() => run(["clip", "--include", "*.json"]), UsageError);
});
