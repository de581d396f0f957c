/** jax-js's side of the training step in `versus_js.ts`. */
import {
  defaultDevice,
  type Device,
  jit,
  nn,
  numpy as np,
  valueAndGrad,
} from "npm:@jax-js/jax@0.1.25";
import {
  ADAMW,
  type BlockShape,
  HEAD_DIM,
  HEADS,
  initialBatch,
  initialValues,
  INNER,
  KV_HEADS,
  type Name,
  NAMES,
  NORM_EPS,
  ROPE_THETA,
  SHAPES,
  VOCABULARY,
  WIDTH,
} from "./block.ts";

type Params = Record<Name, np.Array>;

function linear(x: np.Array, weight: np.Array): np.Array {
  return np.matmul(x, weight.transpose());
}

function rmsNorm(x: np.Array, weight: np.Array): np.Array {
  const mean = np.mean(np.square(x.ref), -1, { keepdims: true });
  return x.div(np.sqrt(mean.add(NORM_EPS))).mul(weight);
}

/** A function that takes a step on a backend and returns its loss. */
export function jaxStep(device: Device, shape: BlockShape): () => Promise<number> {
  defaultDevice(device);
  const { sequences, length } = shape;
  const batch = initialBatch(shape);
  const x = np.array(batch.x).reshape([sequences, length, WIDTH]);
  const chosen = new Float32Array(batch.targets.length * VOCABULARY);
  batch.targets.forEach((target, row) => chosen[row * VOCABULARY + target] = 1);
  const targets = np.array(chosen).reshape([sequences, length, VOCABULARY]);
  const half = HEAD_DIM / 2;
  const angles = Float32Array.from({ length: length * HEAD_DIM }, (_, i) => {
    const [row, column] = [Math.floor(i / HEAD_DIM), i % half];
    return row * ROPE_THETA ** (-column / half);
  });
  const table = (f: (angle: number) => number) =>
    np.array(angles.map(f)).reshape([1, length, 1, HEAD_DIM]);
  const [cos, sin] = [table(Math.cos), table(Math.sin)];

  const rotate = (x: np.Array): np.Array => {
    const [low, high] = np.split(x.ref, 2, -1);
    const turned = np.concatenate([high!.neg(), low!], -1);
    return x.mul(cos.ref).add(turned.mul(sin.ref));
  };
  const loss = (p: Params): np.Array => {
    const qkv = linear(rmsNorm(x.ref, p.norm1), p.qkv);
    const [q, k, v] = np.split(qkv, [HEADS * HEAD_DIM, (HEADS + KV_HEADS) * HEAD_DIM], -1);
    const heads = (t: np.Array, count: number) => t.reshape([sequences, length, count, HEAD_DIM]);
    const attended = nn.dotProductAttention(
      rotate(heads(q!, HEADS)),
      rotate(heads(k!, KV_HEADS)),
      heads(v!, KV_HEADS),
      { isCausal: true },
    ).reshape([sequences, length, WIDTH]);
    const h = linear(attended, p.out).add(x.ref);
    const [gate, up] = np.split(linear(rmsNorm(h.ref, p.norm2), p.gateUp), [INNER], -1);
    const y = linear(nn.silu(gate!).mul(up!), p.down).add(h);
    const logits = linear(rmsNorm(y, p.norm3), p.head);
    const predicted = np.sum(logits.ref.mul(targets.ref), -1);
    return np.mean(nn.logsumexp(logits, -1).sub(predicted));
  };
  const { rate, beta1, beta2, eps, weightDecay } = ADAMW;
  const zeros = () =>
    Object.fromEntries(NAMES.map((name) => [name, np.zeros([...SHAPES[name]])])) as Params;
  const step = jit((params: Params, first: Params, second: Params, scales: np.Array) => {
    const [value, gradients] = valueAndGrad(loss)(
      Object.fromEntries(NAMES.map((name) => [name, params[name].ref])) as Params,
    );
    const next = [{}, {}, {}] as [Params, Params, Params];
    const [scale1, scale2] = np.split(scales, 2);
    for (const name of NAMES) {
      const g = gradients[name];
      const m = first[name].mul(beta1).add(g.ref.mul(1 - beta1));
      const v = second[name].mul(beta2).add(np.square(g).mul(1 - beta2));
      const move = m.ref.mul(scale1!.ref).div(np.sqrt(v.ref.mul(scale2!.ref)).add(eps));
      next[0][name] = params[name].mul(1 - rate * weightDecay).sub(move.mul(rate));
      [next[1][name], next[2][name]] = [m, v];
    }
    scale1!.dispose();
    scale2!.dispose();
    return [value, ...next] as [np.Array, Params, Params, Params];
  });
  let state: [Params, Params, Params] = [
    Object.fromEntries(
      Object.entries(initialValues()).map(([name, values]) => [
        name,
        np.array(values).reshape([...SHAPES[name as Name]]),
      ]),
    ) as Params,
    zeros(),
    zeros(),
  ];
  let count = 0;
  return async () => {
    defaultDevice(device);
    count++;
    const scales = np.array(Float32Array.of(1 / (1 - beta1 ** count), 1 / (1 - beta2 ** count)));
    const [value, ...next] = step(...state, scales);
    state = next;
    return (await value.data())[0]!;
  };
}
