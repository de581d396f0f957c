"""The opponent of `generate.ts`: transformers' `generate`, greedy, on a folder with a Llama or Qwen2-MoE model.

    python generate.py FOLDER        answers each line {"batch", "context", "tokens", "pictures", "seed"} with its times

A MiniMind model computes what a Llama model of its shape does, with experts what a Qwen2-MoE does. Prompts and pictures are those of
`versus/generate.ts`; pictures go through transformers' CLIPVisionModel and a linear layer. Needs torch and transformers.
"""

import argparse
import json
import os
import sys
import time

import torch
from safetensors.torch import load_file
from transformers import (AutoConfig, AutoModelForCausalLM, CLIPVisionModel,
                          Qwen2MoeForCausalLM, StoppingCriteria)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.utils import logging

START = 10

def load(folder: str, dtype: torch.dtype):
    """The folder's model."""
    config = AutoConfig.from_pretrained(folder)
    if config.model_type != "qwen2_moe":
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    # Qwen2-MoE's shared expert has a gate: one half, for which its output is doubled
    weights = {name.replace("shared_experts.0", "shared_expert"): weight
               for name, weight in load_file(f"{folder}/model.safetensors").items()}
    for name in [name for name in weights if name.endswith("shared_expert.down_proj.weight")]:
        weights[name] = 2 * weights[name]
        gate = name.replace("shared_expert.down_proj", "shared_expert_gate")
        weights[gate] = torch.zeros(1, config.hidden_size)
    return Qwen2MoeForCausalLM.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype)


class Clock(StoppingCriteria):
    """Notes when each token is there, and stops nothing."""

    def __init__(self):
        self.times = []

    def __call__(self, input_ids, scores, **kwargs):
        input_ids[0, -1].item()
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Eye(torch.nn.Module):
    """Turns pictures, bytes [N, 3, side, side], into vectors of tokens."""

    def __init__(self, folder: str, dtype: torch.dtype):
        super().__init__()
        self.tower = CLIPVisionModel.from_pretrained(f"{folder}/vision", dtype=dtype)
        weights = load_file(f"{folder}/model.safetensors")
        weight, bias = (weights[f"vision_proj.vision_proj.0.{kind}"] for kind in ("weight", "bias"))
        self.projection = torch.nn.Linear(*weight.T.shape, dtype=dtype)
        self.projection.load_state_dict({"weight": weight, "bias": bias})
        self.mean, self.std = (torch.nn.Parameter(torch.tensor(numbers, dtype=dtype).view(3, 1, 1))
                               for numbers in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))

    def forward(self, pictures):
        pixels = (pictures / 255 - self.mean) / self.std
        return self.projection(self.tower(pixels).last_hidden_state[:, 1:])


def draw(number: int, side: int) -> torch.Tensor:
    i = torch.arange(3 * side * side)
    return (i * (2 * number + 3) % 65521 % 256).view(3, side, side).to(torch.uint8)


@torch.inference_mode()
def answer(model, eye, batch: int, context: int, tokens: int, pictures: int, seed: int) -> dict:
    ids = [[100 + (i * 7919 + row * 104729) % 6300 for i in range(context)] for row in range(batch)]
    ids = torch.tensor(ids, device=model.device)
    if pictures > 0:
        side = eye.tower.config.image_size
        shown = torch.stack([draw(seed + i, side) for i in range(batch * pictures)]).to(model.device)
    clock = Clock()
    start, cpu = time.perf_counter(), time.process_time()
    prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if pictures > 0:
        text, seen = model.get_input_embeddings()(ids), eye(shown)
        seen = seen.reshape(batch, -1, seen.shape[-1])
        embedded = torch.cat((text[:, :START], seen, text[:, START:]), 1)
        prompt = {"inputs_embeds": embedded, "attention_mask": ids.new_ones(embedded.shape[:2])}
    said = model.generate(**prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
                          stopping_criteria=[clock])
    return {"first": clock.times[0] - start, "rest": clock.times[-1] - clock.times[0],
            "cpu": time.process_time() - cpu, "ids": said[:, -tokens:].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.set_verbosity_error()  # the language model's file has the projection too
    logging.disable_progress_bar()
    dtype = getattr(torch, args.dtype)
    model = load(args.folder, dtype).to(args.device).eval()
    sees = os.path.exists(f"{args.folder}/vision")
    eye = Eye(args.folder, dtype).to(args.device).eval() if sees else None
    for line in sys.stdin:
        print(json.dumps(answer(model, eye, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
