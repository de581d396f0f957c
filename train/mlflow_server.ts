import { UsageError } from "../kernels/runtime/errors.ts";
import { MlflowClient } from "./mlflow_client.ts";

/**
 * The server of MLflow that was named, or that the variable `MLFLOW_TRACKING_URI` names; with
 * `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, where they
 * may be read. On a terminal, Deno asks whether the server may be reached.
 *
 * @throws {UsageError} where no server is named, the address is none, or it may not be reached.
 */
export async function mlflowServer(address?: string): Promise<MlflowClient> {
  address ||= await variable("MLFLOW_TRACKING_URI");
  if (!address) {
    throw new UsageError(
      "MLflow's server is not known: give its address with --tracking_uri, such as " +
        "http://127.0.0.1:5000.",
    );
  }
  const client = new MlflowClient(address, await authorization());
  await mayReach(client.host);
  return client;
}

async function variable(name: string): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

async function authorization(): Promise<string | undefined> {
  const token = await variable("MLFLOW_TRACKING_TOKEN");
  if (token) return `Bearer ${token}`;
  const user = await variable("MLFLOW_TRACKING_USERNAME");
  const password = await variable("MLFLOW_TRACKING_PASSWORD") ?? "";
  return user ? `Basic ${btoa(`${user}:${password}`)}` : undefined;
}

/** Asks for the permission on a terminal; says how to give it anywhere else. */
async function mayReach(host: string): Promise<void> {
  const { state } = await Deno.permissions.request({ name: "net", host });
  if (state === "granted") return;
  throw new UsageError(
    `Training may not use the network, so MLflow at ${host} is out of reach. To allow this address, ` +
      `put --allow-net=${host} before cli.ts: ` +
      `deno run --allow-net=${host} --allow-read --allow-write --allow-ffi --allow-env cli.ts ….`,
  );
}
