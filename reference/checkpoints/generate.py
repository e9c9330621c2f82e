"""Small files of torch.save in both containers, with what torch.load reads from them. See README.md."""
import os
from collections import OrderedDict

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, '..', '..', 'packages', 'checkpoints', 'fixtures')
KINDS = {'zip': True, 'legacy': False}


def generator():
    return torch.Generator().manual_seed(3)


def types():
    g = generator()
    x = torch.randn(3, 4, generator=g)
    edges = torch.tensor([0.0, -0.0, 1.0, 65504.0, 2.0**-24, 2.0**-14, float('inf'), float('-inf')])
    return {
        'float': x, 'double': x.double(), 'half': x.half(), 'half.edges': edges.half(),
        'bfloat16': x.bfloat16(), 'bfloat16.edges': torch.tensor([1.0, -3.0e38, 2.0**-133]).bfloat16(),
        'long': torch.tensor([[-5, 2**62]]), 'int': torch.tensor([-1, 2**31 - 1], dtype=torch.int32),
        'short': torch.tensor([-32768, 7], dtype=torch.int16), 'char': torch.tensor([-128, 127], dtype=torch.int8),
        'byte': torch.tensor([0, 255], dtype=torch.uint8), 'bool': torch.tensor([True, False, True]),
        'scalar': torch.tensor(2.5), 'empty': torch.zeros(0, 4),
    }


def views():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    halves = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    bytes_ = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    longs = torch.arange(12).reshape(3, 4) - 6
    return {
        'base': base, 'rows': base[1:], 'transposed': base.permute(2, 0, 1), 'column': base[:, 1, 2], 'stepped': base[::2, :, 1::2],
        'expanded': base[0, 0, :3].reshape(3, 1).expand(3, 4), 'overlapping': base.flatten().as_strided((4, 3), (1, 2), 5),
        'half.transposed': halves.t(), 'byte.transposed': bytes_.t(), 'long.transposed': longs.t(),
    }


def training():
    """A model with tied weights after a step of AdamW, saved as VL-BERT's trainer does."""
    torch.manual_seed(5)
    model = torch.nn.Sequential(OrderedDict(embedding=torch.nn.Embedding(6, 4), dense=torch.nn.Linear(4, 4), decoder=torch.nn.Linear(4, 6)))
    model.decoder.weight = model.embedding.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    monitor = {'best_epoch': 4, 'best_val': 0.25, 'name': 'Prüfung', 'seen': {1, 2}, 'size': torch.Size([2, 3]), 'raw': b'\x00\xff', 'big': 2**80, 'none': None}
    return {'state_dict': model.state_dict(), 'optimizer': optimizer.state_dict(), 'validation_monitor': monitor}


def main():
    os.makedirs(OUT, exist_ok=True)
    parameters = {k: torch.nn.Parameter(v) for k, v in types().items() if k in ('float', 'scalar')}
    files = {'types': types(), 'views': views(), 'training': training(), 'wrapped': {'epoch': 3, 'model': OrderedDict(parameters)}}
    for name, value in files.items():
        tensors = value.get('state_dict', value.get('model', value))
        expected = {}
        for kind, zipped in KINDS.items():
            path = os.path.join(OUT, f'{name}.{kind}.pt')
            torch.save(value, path, _use_new_zipfile_serialization=zipped)
            loaded = torch.load(path, weights_only=False)
            loaded = loaded.get('state_dict', loaded.get('model', loaded))
            assert list(loaded) == list(tensors) and all(torch.equal(loaded[k], tensors[k]) for k in tensors), path
            expected = {k: v.detach().float() if v.dtype in (torch.float16, torch.bfloat16) else v.detach() for k, v in loaded.items()}
        save_file({k: v.clone().contiguous() for k, v in expected.items()}, os.path.join(OUT, f'{name}.expected.safetensors'))
    for kind, zipped in KINDS.items():
        torch.save(Hostile(), os.path.join(OUT, f'hostile.{kind}.pt'), _use_new_zipfile_serialization=zipped)


class Hostile:
    """Loading this with pickle would print a line."""

    def __reduce__(self):
        return os.system, ('echo this file was executed',)


main()
