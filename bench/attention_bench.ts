/** Attention at the shapes of MiniMind2 (26M and 104M) and CLIP ViT-B/16: training, and decoding against a cache. */
import { attention, type AttentionOptions } from "../kernels/attention.ts";
import { startTape } from "../kernels/elementwise.ts";
import { attentionDecode, attentionPrompts, KvCache, packPrompts } from "../kernels/kv_cache.ts";
import { rope, ropeTable } from "../kernels/rope.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences } from "../kernels/sequences.ts";
import { benchBytes, benchFlops, gpu } from "./support/bench_part.ts";

const SEQUENCES = gpu.info.software ? 4 : 64;

const SMALL = { heads: 8, kvHeads: 2, headDim: 64, causal: true };
const LARGE = { heads: 8, kvHeads: 2, headDim: 96, causal: true };
const CLIP = { heads: 12, kvHeads: 12, headDim: 64, causal: false };

const widthOf = ({ heads, kvHeads, headDim }: AttentionOptions) => (heads + 2 * kvHeads) * headDim;

function random(...shape: number[]): Tensor {
  const values = new Float32Array(shape.reduce((a, b) => a * b));
  for (let i = 0; i < values.length; i++) values[i] = (i * 7919 % 2000) / 1e3 - 1; // fast, there are many
  return gpu.tensor(values, shape);
}

/** Two products forward and five backward, half of each when causal. */
function benchAttention(name: string, length: number, options: AttentionOptions): void {
  const { heads, headDim, causal } = options;
  const count = Math.ceil(SEQUENCES * 256 / Math.max(length, 256));
  const lengths = Array<number>(count).fill(length);
  const flops = 4 * count * length ** 2 * heads * headDim / (causal ? 2 : 1);
  const title = `${name} attention, ${count} × ${length}`;
  const prepare = (trained: boolean) => () => {
    const sequences = packSequences(gpu, lengths);
    const qkv = random(sequences.total, widthOf(options));
    if (!trained) return () => void attention(qkv, sequences, options);
    qkv.requiresGrad = true;
    qkv.grad = gpu.empty(qkv.shape);
    const dy = random(sequences.total, heads * headDim);
    return () => {
      using tape = startTape(gpu);
      tape.backward([attention(qkv, sequences, options)], dy);
      qkv.gradFilled = false;
    };
  };
  benchFlops(title, flops, prepare(false));
  benchFlops(`${title} + backward`, 3.5 * flops, prepare(true));
}

for (const length of [256, 640, 1536]) benchAttention("MiniMind 26M", length, SMALL);
benchAttention("MiniMind 104M", 256, LARGE);
benchAttention("CLIP", 197, CLIP);

const rows = SEQUENCES * 256;
benchBytes(`rope [${rows}, ${widthOf(SMALL)}]`, 4 * 2 * rows * 10 * 64, () => {
  const { positions } = packSequences(gpu, Array(SEQUENCES).fill(256));
  const [qkv, table] = [random(rows, widthOf(SMALL)), ropeTable(gpu, 64, 256, 1e6)];
  return () => void rope(qkv, table, positions, SMALL);
});

for (const length of [256, 2048]) {
  const flops = 2 * length ** 2 * SMALL.heads * SMALL.headDim;
  benchFlops(`MiniMind 26M prompt of ${length}`, flops, () => {
    const cache = new KvCache(gpu, 1, 1, length, SMALL);
    for (const { keys, values } of cache.layers) {
      for (const tensor of [keys, values]) gpu.clear(gpu.adopt(tensor));
    }
    const prompts = packPrompts(gpu, [{ slot: 0, from: 0, to: length }]);
    const qkv = random(length, widthOf(SMALL));
    return () => void attentionPrompts(qkv, cache.layers[0]!, prompts, SMALL);
  });
}

for (const [slots, context] of [[1, 512], [1, 4096], [16, 512]] as const) {
  const bytes = 4 * slots * context * 2 * 2 * 64;
  benchBytes(`decode ${slots} after ${context}`, bytes, () => {
    const cache = new KvCache(gpu, 1, slots, context, SMALL);
    for (const { keys, values } of cache.layers) {
      for (const tensor of [keys, values]) gpu.clear(gpu.adopt(tensor));
    }
    const places = {
      slots: gpu.tensor(Uint32Array.from({ length: slots }, (_, i) => i), [slots]),
      positions: gpu.tensor(new Uint32Array(slots).fill(context - 1), [slots]),
    };
    const qkv = random(slots, widthOf(SMALL));
    return () => void attentionDecode(qkv, cache.layers[0]!, places, SMALL);
  });
}
