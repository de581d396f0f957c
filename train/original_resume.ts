import { openFile } from "../data/files.ts";
import { FormatError } from "../kernels/runtime/errors.ts";
import { type HostTensor, isHostTensor, readChecked, toFloat32 } from "../model/host_tensor.ts";
import { readPth } from "../model/pth.ts";

/** What the optimizer keeps of a parameter. */
export interface ParameterMoments {
  /** First moment. */
  readonly first: HostTensor;
  /** Second moment. */
  readonly second: HostTensor;
}

/** The state of a run of the original, from its `_resume.pth`. */
export interface OriginalResume extends AsyncDisposable {
  /** Weights by name; the file must stay open while they are read. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Moments of the parameters that train, by name. */
  readonly moments: ReadonlyMap<string, ParameterMoments>;
  /** Epoch in progress, from 0. */
  readonly epoch: number;
  /** Batches of it that are done. */
  readonly step: number;
  /** Updates made. */
  readonly updates: number;
}

/**
 * Opens a `_resume.pth` of the original. The optimizer numbers its parameters in the order of the model; those that are
 * frozen are left out when only the projection trains.
 *
 * @throws {FormatError} when it is not such a file.
 */
export async function openOriginalResume(path: string): Promise<OriginalResume> {
  await using opened = new AsyncDisposableStack();
  const file = opened.use(await openFile(path));
  const tree = dictionary(await readPth(file), path, "the file");
  const model = dictionary(tree.get("model"), path, "model");
  const optimizer = dictionary(tree.get("optimizer"), path, "optimizer");
  const weights = new Map<string, HostTensor>();
  for (const [name, tensor] of model) {
    if (isHostTensor(tensor)) weights.set(String(name), { ...tensor, name: String(name) });
  }
  const [group] = optimizer.get("param_groups") as unknown[];
  const ids = dictionary(group, path, "param_groups").get("params");
  const all = [...weights.keys()].filter((name) => name !== "lm_head.weight");
  const projection = all.filter((name) => name.startsWith("vision_proj."));
  const count = Array.isArray(ids) ? ids.length : -1;
  const order = [all, projection].find(({ length }) => length === count);
  if (!order) {
    throw new FormatError(
      `${path}: its optimizer has ${count} parameters, the model ${all.length}.`,
    );
  }
  const moments = new Map<string, ParameterMoments>();
  let updates = 0;
  for (const [id, value] of dictionary(optimizer.get("state"), path, "state")) {
    const state = dictionary(value, path, "state");
    const [first, second, step] = ["exp_avg", "exp_avg_sq", "step"].map((key) => state.get(key));
    const name = order[Number(id)];
    if (!isHostTensor(first) || !isHostTensor(second) || !isHostTensor(step) || !name) {
      throw new FormatError(
        `${path}: the optimizer's state of parameter ${String(id)} is not AdamW's.`,
      );
    }
    moments.set(name, { first, second });
    updates = toFloat32(await readChecked(step), step.dtype)[0] ?? 0;
  }
  const [epoch, step] = [Number(tree.get("epoch")), Number(tree.get("step") ?? 0)];
  if (!Number.isInteger(epoch) || !Number.isInteger(step)) {
    throw new FormatError(
      `${path}: epoch ${tree.get("epoch")}, step ${tree.get("step")} are no numbers.`,
    );
  }
  const held = opened.move();
  return {
    weights,
    moments,
    epoch,
    step,
    updates,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function dictionary(value: unknown, path: string, what: string): ReadonlyMap<unknown, unknown> {
  if (value instanceof Map) return value;
  throw new FormatError(`${path} is no checkpoint of the original: ${what} is not a dictionary.`);
}
