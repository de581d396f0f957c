"""The opponent of `generate.ts`: transformers' `generate`, greedy, on a folder with a Llama model.

    python generate.py FOLDER        answers each line {"batch", "context", "tokens"} with its times

A MiniMind model without experts computes what a Llama model of its shape does. Prompts are those of
`versus/generate.ts`. Needs torch and transformers.
"""

import argparse
import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM, StoppingCriteria


class Clock(StoppingCriteria):
    """Notes when each token is there, and stops nothing."""

    def __init__(self):
        self.times = []

    def __call__(self, input_ids, scores, **kwargs):
        input_ids[0, -1].item()
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@torch.inference_mode()
def answer(model, batch: int, context: int, tokens: int) -> dict:
    ids = [[100 + (i * 7919 + row * 104729) % 6300 for i in range(context)] for row in range(batch)]
    ids = torch.tensor(ids, device=model.device)
    clock = Clock()
    start, cpu = time.perf_counter(), time.process_time()
    said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens,
                          min_new_tokens=tokens, do_sample=False, stopping_criteria=[clock])
    return {"first": clock.times[0] - start, "rest": clock.times[-1] - clock.times[0],
            "cpu": time.process_time() - cpu, "ids": said[:, context:].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=getattr(torch, args.dtype))
    model = model.to(args.device).eval()
    for line in sys.stdin:
        print(json.dumps(answer(model, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
