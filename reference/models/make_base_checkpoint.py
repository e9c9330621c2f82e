"""Randomly initialised LXMERT and VisualBERT of the released size, with logits to compare with.

    python reference/models/make_base_checkpoint.py --out .cache/base [--kind lxmert|visual-bert|both] [--format safetensors|zip|legacy]

writes OUT/KIND/{config.json, model.safetensors or pytorch_model.bin} as transformers saves them, inputs.safetensors under its
argument names and expected.safetensors: float32 logits of the saved weights, and the hidden states of the last block.
"""
import argparse
import json
import os

import torch
from safetensors.torch import save_file
from transformers import LxmertConfig, LxmertForQuestionAnswering, VisualBertConfig, VisualBertForQuestionAnswering

BATCH, WORDS, REGIONS = 8, 20, 36


def words(generator, vocabulary):
    """[CLS] words [SEP] of several lengths, padded with 0."""
    ids = torch.randint(1000, vocabulary, (BATCH, WORDS), generator=generator)
    mask = torch.zeros(BATCH, WORDS)
    for row in range(BATCH):
        length = 6 + 2 * row if 6 + 2 * row < WORDS else WORDS
        ids[row, 0], ids[row, length - 1] = 101, 102
        ids[row, length:] = 0
        mask[row, :length] = 1
    return ids, mask


def spread(model, generator):
    """Default initialisation hides mistakes behind zeros and ones: biases and norms are given numbers too."""
    for name, p in model.named_parameters():
        if name.endswith('bias'):
            p.data = 0.02 * torch.randn(p.shape, generator=generator)
        elif 'LayerNorm' in name or 'layer_norm' in name or name.endswith('logit_fc.2.weight'):
            p.data = 1 + 0.1 * torch.randn(p.shape, generator=generator)
        else:
            p.data = 0.05 * torch.randn(p.shape, generator=generator)
    return model.eval()


def lxmert(generator):
    model = spread(LxmertForQuestionAnswering(LxmertConfig(num_qa_labels=3129)), generator)
    ids, mask = words(generator, 30522)
    corners = torch.rand(BATCH, REGIONS, 4, generator=generator).sort(-1).values
    inputs = dict(input_ids=ids, token_type_ids=torch.zeros_like(ids), attention_mask=mask,
                  visual_feats=torch.randn(BATCH, REGIONS, 2048, generator=generator).relu(), visual_pos=corners)
    out = model(**inputs, output_hidden_states=True)
    return model, inputs, dict(logits=out.question_answering_score, last=out.language_hidden_states[-1])


def visual_bert(generator):
    config = VisualBertConfig(visual_embedding_dim=2048, num_labels=3129)
    model = spread(VisualBertForQuestionAnswering(config), generator)
    ids, mask = words(generator, 30522)
    inputs = dict(input_ids=ids, token_type_ids=torch.zeros_like(ids), attention_mask=mask.long(),
                  visual_embeds=torch.randn(BATCH, REGIONS, 2048, generator=generator).relu(),
                  visual_attention_mask=torch.ones(BATCH, REGIONS, dtype=torch.long), visual_token_type_ids=torch.ones(BATCH, REGIONS, dtype=torch.long))
    out = model(**inputs, output_hidden_states=True)
    return model, inputs, dict(logits=out.logits, last=out.hidden_states[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', required=True)
    parser.add_argument('--kind', choices=['lxmert', 'visual-bert', 'both'], default='both')
    parser.add_argument('--format', choices=['safetensors', 'zip', 'legacy'], default='safetensors')
    given = parser.parse_args()
    makers = {'lxmert': lxmert, 'visual-bert': visual_bert}
    for kind in makers if given.kind == 'both' else [given.kind]:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            model, inputs, expected = makers[kind](generator)
        folder = os.path.join(given.out, kind)
        os.makedirs(folder, exist_ok=True)
        model.config.architectures = [type(model).__name__]
        with open(os.path.join(folder, 'config.json'), 'w') as file:
            json.dump(model.config.to_dict(), file, indent=1)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if given.format == 'safetensors':
            save_file(state, os.path.join(folder, 'model.safetensors'), metadata={'format': 'pt'})
        else:
            torch.save(state, os.path.join(folder, 'pytorch_model.bin'), _use_new_zipfile_serialization=given.format == 'zip')
        save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, os.path.join(folder, 'inputs.safetensors'))
        save_file({name: tensor.contiguous() for name, tensor in expected.items()}, os.path.join(folder, 'expected.safetensors'))
        print(f'{folder}: {sum(t.numel() for t in state.values())} numbers, largest logit {expected["logits"].abs().max():.3f}')


main()
