/** A server that speaks the part of MLflow's REST interface that Glimpse uses, and fails on demand. */

import { assert, assertEquals } from "@std/assert";

/** What the server was told of a run. */
export interface StoredRun {
  name: string;
  experiment: string;
  status: string;
  ended: number | undefined;
  metrics: { key: string; value: number | string; timestamp: number; step: number }[];
  params: Map<string, string>;
}

/** A server on a port of its own. */
export class MlflowServer implements AsyncDisposable {
  readonly experiments: string[] = ["Default"];
  readonly runs: StoredRun[] = [];
  readonly files: Map<string, Uint8Array> = new Map();
  readonly requests: { path: string; authorization: string | null }[] = [];
  /** What goes wrong with a request: a status, or a closed connection. */
  trouble: (path: string) => number | "hang up" | undefined = () => undefined;
  /** Where runs keep their files. */
  artifactRoot = "mlflow-artifacts:/1";
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve(
      {
        hostname: "127.0.0.1",
        port: 0,
        onListen() {},
        onError: (error) => {
          return Response.json({ error_code: "INTERNAL_ERROR", message: String(error) }, {
            status: 500,
          });
        },
      },
      (request) => this.#answer(request),
    );
  }

  get address(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    this.requests.push({ path: pathname, authorization: request.headers.get("authorization") });
    const body = new Uint8Array(await request.arrayBuffer());
    assert(body.length < 1e6, "a request is at most 1 MB");
    const trouble = this.trouble(pathname);
    if (trouble === "hang up") {
      const broken = new ReadableStream({ start: (controller) => controller.error("hang up") });
      return new Response(broken);
    }
    if (trouble !== undefined) {
      return Response.json({ error_code: "X", message: "trouble" }, { status: trouble });
    }
    const files = "/api/2.0/mlflow-artifacts/artifacts/";
    if (request.method === "PUT" && pathname.startsWith(files)) {
      this.files.set(decodeURI(pathname.slice(files.length)), body);
      return Response.json({});
    }
    const call = `${request.method} ${pathname.replace("/api/2.0/mlflow/", "")}`;
    if (call === "GET experiments/get-by-name") {
      const id = this.experiments.indexOf(searchParams.get("experiment_name")!);
      if (id >= 0) return Response.json({ experiment: { experiment_id: String(id) } });
      return refuse(404, "RESOURCE_DOES_NOT_EXIST", "No such experiment");
    }
    assertEquals(request.headers.get("content-type"), "application/json");
    const given = JSON.parse(new TextDecoder().decode(body));
    if (call === "POST experiments/create") {
      if (this.experiments.includes(given.name)) return refuse(400, "RESOURCE_ALREADY_EXISTS", "");
      return Response.json({ experiment_id: String(this.experiments.push(given.name) - 1) });
    }
    if (call === "POST runs/create") {
      const experiment = this.experiments[Number(given.experiment_id)]!;
      const run: StoredRun = {
        name: given.run_name,
        experiment,
        status: "RUNNING",
        ended: undefined,
        metrics: [],
        params: new Map(),
      };
      const id = `run${this.runs.push(run) - 1}`;
      const info = { run_id: id, artifact_uri: `${this.artifactRoot}/${id}/artifacts` };
      return Response.json({ run: { info } });
    }
    const run = this.runs[Number(/^run(\d+)$/.exec(given.run_id)?.[1])];
    if (!run) return refuse(404, "RESOURCE_DOES_NOT_EXIST", `Run ${given.run_id} not found`);
    if (call === "POST runs/update") {
      [run.status, run.ended] = [given.status, given.end_time];
      return Response.json({
        run_info: { artifact_uri: `${this.artifactRoot}/${given.run_id}/artifacts` },
      });
    }
    assertEquals(call, "POST runs/log-batch");
    const { metrics, params } = given;
    if (metrics.length > 1000 || params.length > 100 || metrics.length + params.length > 1000) {
      return refuse(400, "INVALID_PARAMETER_VALUE", "the batch is too large");
    }
    for (const { key, value } of [...metrics, ...params]) {
      assert(/^[\w\-. :/]{1,250}$/.test(key), key);
      if (value === null) return refuse(400, "INVALID_PARAMETER_VALUE", `${key} has no value`);
    }
    for (const { key, value } of params) {
      if ((run.params.get(key) ?? value) !== value) {
        return refuse(400, "INVALID_PARAMETER_VALUE", `${key} is set already`);
      }
      run.params.set(key, value);
    }
    run.metrics.push(...metrics);
    return Response.json({});
  }
}

function refuse(status: number, error_code: string, message: string): Response {
  return Response.json({ error_code, message }, { status });
}
