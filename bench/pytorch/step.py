"""The opponent: a training step of MiniMind-V in PyTorch, timed.

    python step.py --stage pretrain --batch_size 4 --max_seq_len 640     one JSON line a round
    python step.py --stage sft --hidden_size 768 --num_hidden_layers 16 --batch_size 2
    python step.py --best          batches cut to their longest sample (the original pads)
    python step.py --stage decode  tokens after a prompt with a picture, keys and values kept
    python step.py --use_moe       experts; --device cuda computes in bfloat16 as the original does
    python step.py --wait          a round for each line that comes in, to take turns with another
    python step.py --steps 10      steps of a round, whose loss is asked for at its end alone
    python step.py --check FOLDER expected.json      the losses of the original on its small folder

Like the original: samples padded to max_seq_len, logits and cross-entropy at every position, the
CLIP encoder run at every step. cpu_seconds counts all threads: with --threads 1 it holds also on a
busy machine. Random weights. Needs torch; --check also transformers and pillow.
"""

import argparse
import json
import math
import os
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

IMAGE_TOKENS, IMAGE_ID, PAD_ID = 196, 34, 0
VOCABULARY, HEADS, KV_HEADS = 6400, 8, 2


class Attention(nn.Module):
    """Grouped-query causal attention with rotary positions."""

    def __init__(self, width: int):
        super().__init__()
        self.head = width // HEADS
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, KV_HEADS * self.head, bias=False)
        self.v_proj = nn.Linear(width, KV_HEADS * self.head, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, rotary, past=None):
        cos, sin = rotary

        def heads(t):  # [batch, heads, tokens, head]
            return t.unflatten(-1, (-1, self.head)).transpose(1, 2)

        def rotate(t):
            low, high = t.chunk(2, -1)
            return t * cos + torch.cat((-high, low), -1) * sin

        q, k, v = (heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q), rotate(k)
        causal = not past
        if past is not None:  # keys and values of the tokens before, in place
            if past:
                k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
            past[:] = k, v
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        inner = 64 * math.ceil(int(width * 8 / 3) / 64)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class MoeFeedForward(nn.Module):
    """Every token passes a shared network and the two of four experts that its gate scores best."""

    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Linear(width, 4, bias=False)
        self.experts = nn.ModuleList(FeedForward(width) for _ in range(4))
        self.shared = FeedForward(width)

    def forward(self, x):
        scores = self.gate(x).softmax(-1)
        weight, chosen = scores.topk(2)
        weight = (weight / weight.sum(-1, keepdim=True)).flatten(0, 1)
        uses = F.one_hot(chosen, 4).float().mean((1, 2)) * 4
        self.balance = 0.1 * (uses * scores.mean(1)).sum(1).mean()
        flat, chosen = x.flatten(0, 1), chosen.flatten(0, 1)
        mixed = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            rows, choice = torch.where(chosen == i)
            part = expert(flat[rows]) * weight[rows, choice].unsqueeze(-1)
            mixed = mixed.index_add(0, rows, part.to(mixed.dtype))
        return mixed.view_as(x) + self.shared(x)


class Block(nn.Module):
    def __init__(self, width: int, moe: bool = False):
        super().__init__()
        self.self_attn = Attention(width)
        self.mlp = MoeFeedForward(width) if moe else FeedForward(width)
        self.input_layernorm = nn.RMSNorm(width, 1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, 1e-5)

    def forward(self, x, rotary, past=None):
        x = x + self.self_attn(self.input_layernorm(x), rotary, past)
        return x + self.mlp(self.post_attention_layernorm(x))


class ClipLayer(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        h = self.layer_norm1(x)
        q, k, v = (self.self_attn[name](h).unflatten(-1, (-1, 64)).transpose(1, 2)
                   for name in ("q_proj", "k_proj", "v_proj"))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.self_attn["out_proj"](mixed)
        h = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](h * torch.sigmoid(1.702 * h))


class ClipVision(nn.Module):
    """ViT-B/16; the patch features before the last norm, without the class token."""

    def __init__(self, layers: int, width: int = 768, inner: int = 3072):
        super().__init__()
        self.embeddings = nn.ModuleDict({
            "patch_embedding": nn.Conv2d(3, width, 16, 16, bias=False),
            "position_embedding": nn.Embedding(IMAGE_TOKENS + 1, width)})
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.pre_layrnorm = nn.LayerNorm(width)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(ClipLayer(width, inner) for _ in range(layers))})

    def forward(self, pixels):
        patches = self.embeddings["patch_embedding"](pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        positions = self.embeddings["position_embedding"].weight
        x = self.pre_layrnorm(torch.cat((first, patches), 1) + positions)
        for layer in self.encoder["layers"]:
            x = layer(x)
        return x[:, 1:]


class Vlm(nn.Module):
    def __init__(self, width: int, layers: int, clip: ClipVision, moe: bool = False):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.vision_proj = nn.Linear(768, width)
        self.embed_tokens = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Block(width, moe) for _ in range(layers))
        self.norm = nn.RMSNorm(width, 1e-5)
        head = width // HEADS
        frequencies = 1e6 ** (-torch.arange(0, head, 2) / head)
        angles = torch.outer(torch.arange(8192), frequencies).repeat(1, 2)
        self.register_buffer("rotary", torch.stack((angles.cos(), angles.sin())), persistent=False)

    def forward(self, ids, pixels=None, past=None):
        x = self.embed_tokens(ids)
        if pixels is not None:
            with torch.no_grad():
                features = self.clip(pixels)
            picture = (ids == IMAGE_ID).unsqueeze(-1).expand_as(x)  # one picture a sample
            x = x.masked_scatter(picture, self.vision_proj(features).to(x.dtype))
        start = past[0][0].size(2) if past and past[0] else 0
        rotary = self.rotary[:, start:start + ids.size(1)]
        for i, layer in enumerate(self.layers):
            x = layer(x, rotary, None if past is None else past[i])
        return F.linear(self.norm(x), self.embed_tokens.weight)


def masked_loss(model, ids, mask, pixels):
    """Mean cross-entropy of the tokens that the mask marks, each predicted from those before."""
    logits = model(ids[:, :-1], pixels).float()
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    mask = mask[:, 1:].flatten()
    return (losses * mask).sum() / mask.sum()


def random_batch(lengths: list[int], answer: int, size: int):
    """One picture a sample near its start, its last `answer` tokens the answer, then padding."""
    ids = torch.full((len(lengths), size), PAD_ID)
    mask = torch.zeros(len(lengths), size)
    for i, length in enumerate(lengths):
        ids[i, :length] = torch.randint(100, VOCABULARY, (length,))
        ids[i, 10:10 + IMAGE_TOKENS] = IMAGE_ID
        mask[i, length - answer:length] = 1
    return ids, mask, torch.randn(len(lengths), 3, 224, 224)


def folder_batch(folder: Path, stage: str, size: int):
    """All rows of the folder's data as one batch."""
    from PIL import Image
    from transformers import AutoTokenizer, CLIPImageProcessor

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    processor = CLIPImageProcessor.from_pretrained(
        folder / "model/vision_model/clip-vit-base-patch16")
    begin, end = tokenizer("<|im_start|>assistant").input_ids, tokenizer.eos_token_id
    rows, masks, pixels = [], [], []
    for line in (folder / f"dataset/{stage}_data.jsonl").read_text().splitlines():
        row = json.loads(line)
        turns = [{"role": turn["role"], "content": turn["content"].replace("<image>", "@" * 196)}
                 for turn in row["conversations"]]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False)).input_ids[:size]
        mask = [0] * size
        for start in range(len(ids)):
            if ids[start:start + len(begin)] == begin:  # from after the line's end to after `end`
                stop = ids.index(end, start) if end in ids[start:] else size
                answer = slice(start + len(begin) + 1, min(stop + 2, size))
                mask[answer] = [1] * (answer.stop - answer.start)
        rows.append(ids + [PAD_ID] * (size - len(ids)))
        masks.append(mask)
        image = Image.open(folder / f"dataset/{stage}_images" / row["image"]).convert("RGB")
        pixels.append(processor(image, return_tensors="pt")["pixel_values"][0])
    return torch.tensor(rows), torch.tensor(masks), torch.stack(pixels)


def folder_model(folder: Path, width: int, layers: int, moe: bool) -> Vlm:
    """The model with the folder's weights."""
    from safetensors.torch import load_file

    clip_folder = folder / "model/vision_model/clip-vit-base-patch16"
    vision = json.loads((clip_folder / "config.json").read_text())["vision_config"]
    model = Vlm(width, layers, ClipVision(
        vision["num_hidden_layers"], vision["hidden_size"], vision["intermediate_size"]), moe)
    state = {}
    for name, value in torch.load(folder / f"out/llm_{width}{'_moe' if moe else ''}.pth").items():
        if name != "lm_head.weight":
            name = name.replace("vision_proj.vision_proj.0", "vision_proj")
            name = name.replace("shared_experts.0", "shared")
            state[name.removeprefix("model.")] = value
    for name, value in load_file(clip_folder / "model.safetensors").items():
        tower, _, rest = name.partition(".")
        if tower == "vision_model" and not rest.startswith(("post_", "embeddings.position_ids")):
            state["clip." + rest.replace("embeddings.class", "class")] = value
    model.load_state_dict(state)
    return model


def steps(model, batch, stage: str, rates, in_a_row: int = 1):
    """Trains on one batch, some steps in a row for each of `rates`; yields a step's seconds, seconds
    of all threads and tokens, and the last loss: the original asks for it every `log_interval` steps."""
    model.requires_grad_(stage == "sft")
    model.clip.requires_grad_(False)
    model.vision_proj.requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    moe = [layer.mlp for layer in model.layers if isinstance(layer.mlp, MoeFeedForward)]
    for rate in rates:
        start, cpu = time.perf_counter(), time.process_time()
        optimizer.param_groups[0]["lr"] = rate
        for _ in range(in_a_row):
            with torch.autocast("cuda", torch.bfloat16, enabled=batch[0].is_cuda):
                loss = masked_loss(model, *batch)
            loss = loss + sum(layer.balance for layer in moe)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = loss.item()  # waits for all of it
        yield {"seconds": round((time.perf_counter() - start) / in_a_row, 6),
               "cpu_seconds": round((time.process_time() - cpu) / in_a_row, 6),
               "loss": round(value, 6),
               "samples": len(batch[0]), "tokens": int((batch[0] != PAD_ID).sum()),
               "memory": peak_memory()}


@torch.inference_mode()
def decoding(model, ids, pixels, tokens: int, rates):
    """Continues a prompt greedily, once for each of `rates`; the prompt itself is not timed."""
    for _ in rates:
        past = [[] for _ in model.layers]
        with torch.autocast("cuda", torch.bfloat16, enabled=ids.is_cuda):
            token = model(ids, pixels, past)[:, -1:].argmax(-1)
            token.cpu()
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(tokens):
                token = model(token, None, past).argmax(-1)
                token.item()  # `generate` asks at every token whether it is the last
        yield {"seconds": round(time.perf_counter() - start, 6),
               "cpu_seconds": round(time.process_time() - cpu, 6), "loss": 0.0, "samples": 1,
               "tokens": tokens, "memory": peak_memory()}


def peak_memory() -> int:
    """Bytes at most so far: on the device, or of the process where the device is the processor."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check(folder: Path, expected: Path) -> None:
    """Trains as the original did on this folder, dense and with experts, and compares every loss."""
    runs = json.loads(expected.read_text())["train"]
    for moe in (False, True):
        model = None
        for stage in ("pretrain", "sft"):
            run = runs[f"{stage}_moe_float32" if moe else stage]
            flags = run["flags"]
            if model is None:
                model = folder_model(folder, flags["hidden_size"], flags["num_hidden_layers"], moe)
            else:  # the original saves in half precision between its stages
                for name, tensor in model.state_dict().items():
                    if not name.startswith("clip."):
                        tensor.copy_(tensor.half())
            batch = folder_batch(folder, stage, flags["max_seq_len"])
            made = steps(model, batch, stage, run["lr"])
            for step, loss in zip(made, run["loss"], strict=True):
                print(json.dumps({"stage": stage, "moe": moe, **step, "original": loss}))
                if abs(step["loss"] - loss) > (2e-3 if moe else 2e-4):  # experts chosen near a tie
                    raise SystemExit("The loss is not the original's.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stage", choices=["pretrain", "sft", "decode"], default="pretrain")
    parser.add_argument("--hidden_size", type=int, default=512)
    parser.add_argument("--num_hidden_layers", type=int, default=8)
    parser.add_argument("--clip_layers", type=int, default=12)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--max_seq_len", type=int, default=640)
    parser.add_argument("--lengths", type=int, nargs="+", default=[246],
                        help="tokens of the samples before padding, repeated over the batch")
    parser.add_argument("--answer", type=int, default=24, help="tokens with loss in each sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of a round")
    parser.add_argument("--best", action="store_true", help="cut to the longest sample")
    parser.add_argument("--use_moe", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--wait", action="store_true", help="a round for each line of stdin")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--check", nargs=2, type=Path, metavar=("FOLDER", "EXPECTED"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        return check(*args.check)
    torch.manual_seed(0)
    lengths = [args.lengths[i % len(args.lengths)] for i in range(args.batch_size)]
    size = max(lengths) if args.best else args.max_seq_len
    model = Vlm(args.hidden_size, args.num_hidden_layers, ClipVision(args.clip_layers),
                args.use_moe).to(args.device)
    batch = [part.to(args.device) for part in random_batch(lengths, args.answer, size)]
    rates = (4e-4 for _ in (sys.stdin if args.wait else range(args.rounds)))
    if args.compile:
        model.compile()
    if args.stage == "decode":
        made = decoding(model, batch[0][:1, :lengths[0]], batch[2][:1], args.answer, rates)
    else:
        made = steps(model, batch, args.stage, rates, args.steps)
    for step in made:
        print(json.dumps(step), flush=True)


if __name__ == "__main__":
    main()
