/** A hub on this machine that speaks the interfaces of the real ones and fails as they do. */

import { createHash } from "node:crypto";

/** What the server does with one request of a file instead of answering it. */
export type Fault = (request: Request, content: Uint8Array<ArrayBuffer>) => Response;

/** A hub with one repository, `owner/name`, as model and as data set. */
export interface HubServer extends AsyncDisposable {
  /** Its address. */
  readonly endpoint: string;
  /** The address that files are sent from, another origin. */
  readonly cdn: string;
  /** Faults by path, each used for one request. */
  readonly faults: Map<string, Fault[]>;
  /** Faults of the listing. */
  readonly listFaults: (() => Response)[];
  /** All requests: method, path and query, `Range`, `Authorization`. */
  readonly requests: { url: string; range: string | null; token: string | null }[];
  /** Says another checksum of a file than it has. */
  readonly lies: Map<string, string>;
}

const hex = (kind: string, ...parts: (string | Uint8Array)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash(kind)).digest("hex");

/** Starts a hub that holds these files; those of more than 100 bytes are in LFS. */
export function serveHub(files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>): HubServer {
  const requests: HubServer["requests"] = [];
  const faults = new Map<string, Fault[]>();
  const lies = new Map<string, string>();
  const listFaults: (() => Response)[] = [];
  const commit = "c0ffee".repeat(6) + "c0ff";
  const isLarge = (path: string) => files[path]!.length > 100;
  const sha256 = (path: string) => lies.get(path) ?? hex("sha256", files[path]!);
  const note = (request: Request) => {
    const { pathname, search } = new URL(request.url);
    const { headers } = request;
    const url = pathname + search;
    requests.push({ url, range: headers.get("range"), token: headers.get("authorization") });
    return { path: decodeURIComponent(pathname), query: new URL(request.url).searchParams };
  };
  const quiet = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const cdn = Deno.serve(quiet, (request) => {
    const path = note(request).path.slice(1);
    const fault = faults.get(path)?.shift();
    return fault ? fault(request, files[path]!) : sendFile(request, files[path]!);
  });
  const listed = (type: string) =>
    type === "tree" ? [] : Object.entries(files).map(([rfilename, content]) => {
      const blobId = lies.get(rfilename) ?? hex("sha1", `blob ${content.length}\0`, content);
      const lfs = { sha256: sha256(rfilename), size: content.length, pointerSize: 134 };
      return { rfilename, size: content.length, blobId, ...(isLarge(rfilename) && { lfs }) };
    });
  const hub = Deno.serve(quiet, (request) => {
    const { path, query } = note(request);
    const fault = path.startsWith("/api/") ? listFaults.shift() : undefined;
    if (fault) return fault();
    const api = /^\/api\/(models|datasets)\/owner\/name\/revision\/(.*)$/.exec(path);
    if (api) return Response.json({ sha: commit, siblings: listed(api[1]!) });
    const found = /^\/(?:datasets\/|models\/)?owner\/name\/resolve\/[^/]+\/(.*)$/.exec(path)?.[1];
    if (found !== undefined && found in files) {
      const location = `http://127.0.0.1:${cdn.addr.port}/${found}`;
      return new Response(null, { status: 302, headers: { location } });
    }
    const Files = Object.entries(files).map(([Path, { length }]) => (
      { Path, Size: length, Sha256: sha256(Path), Type: "blob" }
    ));
    const folder = { Path: "folder", Size: 0, Type: "tree" };
    if (path === "/api/v1/models/owner/name/repo/files") {
      return Response.json({ Data: { Files: [folder, ...Files] } });
    }
    if (path === "/api/v1/datasets/owner/name") return Response.json({ Data: { Id: 17 } });
    if (path === "/api/v1/datasets/17/repo/tree") {
      const [page, size] = [Number(query.get("PageNumber")), Number(query.get("PageSize"))];
      const part = Files.slice((page - 1) * size, page * size);
      return Response.json({ Data: { Files: part } });
    }
    return new Response("no such thing", { status: 404 });
  });
  return {
    endpoint: `http://127.0.0.1:${hub.addr.port}`,
    cdn: `http://127.0.0.1:${cdn.addr.port}`,
    faults,
    listFaults,
    requests,
    lies,
    async [Symbol.asyncDispose]() {
      await Promise.all([hub.shutdown(), cdn.shutdown()]);
    },
  };
}

/** A file or the rest of it. */
export function sendFile(request: Request, content: Uint8Array<ArrayBuffer>): Response {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? NaN);
  if (Number.isNaN(from)) return new Response(content);
  if (from >= content.length) return new Response(null, { status: 416 });
  const range = `bytes ${from}-${content.length - 1}/${content.length}`;
  return new Response(content.slice(from), { status: 206, headers: { "content-range": range } });
}

/** Sends the beginning of what was asked for and then breaks the connection. */
export function breakAfter(bytes: number): Fault {
  return (request, content) => {
    const whole = sendFile(request, content);
    const from = Number(/^bytes (\d+)/.exec(whole.headers.get("content-range") ?? "")?.[1] ?? 0);
    const part = content.slice(from, from + bytes);
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(part),
      pull: (controller) => controller.error(new Error("the connection broke")),
    }, { highWaterMark: 0 });
    return new Response(body, whole);
  };
}

/** Sends the beginning of a file and then nothing more. */
export function stallAfter(bytes: number): Fault {
  return (_, content) => {
    const start = (controller: ReadableStreamDefaultController<Uint8Array>) =>
      controller.enqueue(content.slice(0, bytes));
    return new Response(new ReadableStream<Uint8Array>({ start }));
  };
}
