import { CheckpointError } from '@espalier/core';
import { asKind, describe, type Pickled, type PickledDict, type TensorView } from './pickle-values.ts';

/**
 * The tensors of the state dict that a file holds: the object itself where it holds tensors alone, else its
 * `state_dict`, else its `model`, else the tensors of the object itself. Tensors elsewhere, an optimiser's moments, are
 * left out. @throws CheckpointError saying what the file holds instead.
 */
export function stateDict(root: Pickled, who: string): ReadonlyMap<string, TensorView> {
  const top = asKind(root, 'dict');
  if (!top) throw new CheckpointError(`${who}: holds a ${describe(root)}, expected a state dict. Save it so: torch.save(model.state_dict(), file)`);
  const own = tensorsOf(top, who);
  if (own.size > 0 && own.size === top.entries.size) return own;
  for (const name of ['state_dict', 'model']) {
    const inner = asKind(top.entries.get(name), 'dict');
    const tensors = inner && tensorsOf(inner, who);
    if (tensors && tensors.size > 0) return tensors;
  }
  if (own.size > 0) return own;
  const names = [...top.entries.keys()].slice(0, 10).map((key) => (typeof key === 'string' ? `'${key.slice(0, 60)}'` : describe(key)));
  throw new CheckpointError(`${who}: has no tensors itself and none in 'state_dict' or 'model'; it holds ${names.join(', ') || 'nothing'}. Save the state dict alone: torch.save(model.state_dict(), file)`);
}

function tensorsOf({ entries }: PickledDict, who: string): ReadonlyMap<string, TensorView> {
  const tensors = new Map<string, TensorView>();
  for (const [key, value] of entries) {
    const tensor = asKind(value, 'tensor');
    if (!tensor) continue;
    if (typeof key !== 'string') throw new CheckpointError(`${who}: a tensor has a ${describe(key)} as name, expected a text`);
    tensors.set(key, tensor);
  }
  return tensors;
}
