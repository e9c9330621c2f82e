"""LXMERT-base in PyTorch, in the shapes of `npm run bench -- engine --only lxmert-forward`, `lxmert-lora` and `lxmert-full`.

Weights are drawn, not loaded; dropout is 0 on both sides. Prints one JSON line per kind of step.
"""

import argparse
import json
import re
import statistics
import time

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import LxmertConfig, LxmertForQuestionAnswering

BATCH, TOKENS, REGIONS, ANSWERS = 8, 20, 36, 3129
RANK, ALPHA = 8, 16
# LXMERT's self-attentions; its cross-attentions are called `att`.
TARGETS = re.compile(r".*\.self\.(query|value)")


class LowRank(torch.nn.Module):
    """y = x W + b + (alpha / rank) (x A) B, where only A and B learn."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        self.a = torch.nn.Parameter(torch.empty(linear.in_features, RANK).uniform_(-(linear.in_features**-0.5), linear.in_features**-0.5))
        self.b = torch.nn.Parameter(torch.zeros(RANK, linear.out_features))

    def forward(self, x):
        return self.linear(x) + (x @ (self.a * (ALPHA / RANK))) @ self.b


def base():
    config = LxmertConfig(num_qa_labels=ANSWERS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return LxmertForQuestionAnswering(config).train()


def by_hand(model):
    for p in model.parameters():
        p.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if TARGETS.fullmatch(name):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, LowRank(module))
    return model


def by_peft(model):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS.pattern))


def batch():
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "input_ids": torch.randint(5, 30522, (BATCH, TOKENS), generator=draw),
        "token_type_ids": torch.zeros(BATCH, TOKENS, dtype=torch.long),
        "attention_mask": torch.ones(BATCH, TOKENS),
        "visual_feats": torch.randn(BATCH, REGIONS, 2048, generator=draw),
        "visual_pos": torch.rand(BATCH, REGIONS, 4, generator=draw),
    }
    return inputs, torch.rand(BATCH, ANSWERS, generator=draw).gt(0.999).float()


class Forward:
    """A forward pass without gradients."""

    def __init__(self, name, model):
        self.name, self.model = name, model.eval()
        self.inputs, _ = batch()
        self.milliseconds = []

    def step(self, keep):
        began = time.perf_counter()
        with torch.inference_mode():
            self.model(**self.inputs).question_answering_score[0, 0].item()
        if keep:
            self.milliseconds.append(1e3 * (time.perf_counter() - began))

    def report(self):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.model(**self.inputs)
        return {
            "side": "torch", "kind": self.name, "parameters": sum(p.numel() for p in self.model.parameters()), "trainable": 0,
            "macs": counter.get_total_flops() // 2,
            "median": statistics.median(self.milliseconds), "min": min(self.milliseconds), "update": 0, "rounds": len(self.milliseconds),
        }


class Kind:
    """One kind of training, with a model of its own."""

    def __init__(self, name, model, fused):
        self.name, self.model = name, model
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-5, weight_decay=0.01, fused=fused)
        self.inputs, self.targets = batch()
        self.milliseconds, self.update = [], []

    def loss(self):
        logits = self.model(**self.inputs).question_answering_score
        return functional.binary_cross_entropy_with_logits(logits, self.targets, reduction="sum") / BATCH

    def step(self, keep):
        began = time.perf_counter()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        loss.item()
        learned = time.perf_counter()
        self.optimiser.step()
        ended = time.perf_counter()
        if keep:
            self.milliseconds.append(1e3 * (ended - began))
            self.update.append(1e3 * (ended - learned))

    def macs(self):
        """Multiply-adds of the products of one step, as PyTorch counts them."""
        self.optimiser.zero_grad(set_to_none=True)
        with FlopCounterMode(display=False) as counter:
            self.loss().backward()
        return counter.get_total_flops() // 2

    def report(self):
        added = sum(p.numel() for n, p in self.model.named_parameters() if self.name != "full" and p.requires_grad)
        return {
            "side": "torch", "kind": self.name,
            "parameters": sum(p.numel() for p in self.model.parameters()) - added,
            "trainable": sum(p.numel() for p in self.trained),
            "macs": self.macs(),
            "median": statistics.median(self.milliseconds), "min": min(self.milliseconds),
            "update": statistics.median(self.update), "rounds": len(self.milliseconds),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--kinds", default="lora,full", help="of forward, lora, lora-peft and full, separated by commas")
    parser.add_argument("--adamw", choices=["fused", "default"], default="fused")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    makers = {"lora": lambda: by_hand(base()), "lora-peft": lambda: by_peft(base()), "full": base}
    kinds = [Forward(name, base()) if name == "forward" else Kind(name, makers[name](), options.adamw == "fused") for name in options.kinds.split(",")]
    for i in range(options.warmup + options.rounds):
        for kind in kinds:
            kind.step(keep=i >= options.warmup)
    for kind in kinds:
        print(json.dumps({**kind.report(), "threads": torch.get_num_threads(), "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
