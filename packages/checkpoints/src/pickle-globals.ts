import type { Dtype } from '@espalier/core';
import { asKind, describe, tensorView, type Global, type Pickled, type Storage } from './pickle-values.ts';

const STORAGES: ReadonlyMap<string, Dtype> = new Map([
  ['FloatStorage', 'F32'], ['DoubleStorage', 'F64'], ['HalfStorage', 'F16'], ['BFloat16Storage', 'BF16'], ['LongStorage', 'I64'],
  ['IntStorage', 'I32'], ['ShortStorage', 'I16'], ['CharStorage', 'I8'], ['ByteStorage', 'U8'], ['BoolStorage', 'BOOL'],
]);

/** The type of the values of `torch.FloatStorage`, `torch.cuda.HalfStorage`, ... */
export const storageDtype = (name: string): Dtype | undefined => STORAGES.get(/^torch\.(?:cuda\.)?(\w+)$/.exec(name)?.[1] ?? '');

/** What stands for a call: gives a value, or a string that says why not. `charge` counts items that are copied. */
type Rule = (args: readonly Pickled[], charge: (items: number) => void) => { readonly value: Pickled } | string;

const tensor = (args: readonly Pickled[]) => {
  const [storage, offset, size, stride] = args;
  const values = asKind(storage, 'storage');
  if (!values) return `a tensor lies in a ${describe(storage)}, expected a storage`;
  const view = tensorView(values, offset, size, stride);
  return typeof view === 'string' ? `a tensor is not inside its storage: ${view}` : { value: view };
};
const parameter: Rule = ([data]) => {
  const value = asKind(data, 'tensor');
  return value ? { value } : `a parameter holds a ${describe(data)}, expected a tensor`;
};
const opaque = () => ({ value: { kind: 'opaque' } as const });

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['collections.OrderedDict', orderedDict],
  ['torch._utils._rebuild_tensor', tensor],
  ['torch._utils._rebuild_tensor_v2', tensor],
  ['torch._utils._rebuild_parameter', parameter],
  ['torch.Size', ([sizes]) => ({ value: asKind(sizes, 'tuple') ?? { kind: 'opaque' } })],
  ['__builtin__.set', opaque],
  ['builtins.set', opaque],
  ['_codecs.encode', opaque],
]);

/** The name as a value where it stands in the table. It is looked up, never resolved. */
export function allowedGlobal(name: string): Global | undefined {
  return RULES.has(name) || storageDtype(name) !== undefined ? { kind: 'global', name } : undefined;
}

/** What a global makes of arguments, by its rule in the table. A string says why there is nothing. */
export function applyGlobal(callee: Pickled, args: Pickled, charge: (items: number) => void): { readonly value: Pickled } | string {
  const name = asKind(callee, 'global')?.name;
  const rule = name === undefined ? undefined : RULES.get(name);
  const items = asKind(args, 'tuple')?.items;
  if (!rule) return `a ${name ?? describe(callee)} is called, which is no function`;
  return items ? rule(items, charge) : `${name} is called with a ${describe(args)}, expected a tuple`;
}

/** OrderedDict() or, as Python 2 writes it, OrderedDict(((key, value), ...)). */
function orderedDict([pairs]: readonly Pickled[], charge: (items: number) => void): { readonly value: Pickled } | string {
  const entries = new Map<Pickled, Pickled>();
  if (pairs === undefined) return { value: { kind: 'dict', entries } };
  const list = itemsOf(pairs);
  charge(list?.length ?? 0);
  for (const pair of list ?? []) {
    const [key, value, ...more] = itemsOf(pair) ?? [];
    if (key === undefined || value === undefined || more.length > 0) return 'an OrderedDict is made of something else than pairs';
    entries.set(key, value);
  }
  return list ? { value: { kind: 'dict', entries } } : `an OrderedDict is made of a ${describe(pairs)}`;
}

const itemsOf = (value: Pickled) => asKind(value, 'tuple')?.items ?? asKind(value, 'list')?.items;

/**
 * The storage of a persistent id `('storage', type, key, location, count[, view])`. The location, cuda:0 for one, is of
 * no concern. A string says why there is none.
 */
export function storageOf(id: Pickled): Storage | string {
  const [kind, type, key, , count, view] = asKind(id, 'tuple')?.items ?? [];
  if (kind === 'module') return "holds Python source of a module ('module'), which is refused and never executed. Save the state dict instead: torch.save(model.state_dict(), file)";
  if (kind !== 'storage') return `a persistent id is ${typeof kind === 'string' ? `'${kind.slice(0, 40)}'` : describe(kind)}, expected 'storage'`;
  const name = asKind(type, 'global')?.name;
  const dtype = name === undefined ? undefined : storageDtype(name);
  if (dtype === undefined) return `a storage is of type ${name ?? describe(type)}`;
  if (typeof key !== 'string' || key.length > 256) return `a storage has a ${describe(key)} as key, expected a short text`;
  if (typeof count !== 'number' || !Number.isSafeInteger(count * 8) || count < 0) return `storage '${key}' has ${typeof count === 'number' ? count : describe(count)} as count of values`;
  if (view !== undefined && view !== null) return `storage '${key}' is a view of another, as torch before 0.4 wrote them. Load the file with a torch of that time and save it again`;
  return { kind: 'storage', dtype, key, count };
}
