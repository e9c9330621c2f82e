import { elementsOf, type Dtype, type TensorHead } from '@espalier/core';

const STORAGES: Readonly<Record<Dtype, string>> = {
  F64: 'Double', F32: 'Float', F16: 'Half', BF16: 'BFloat16', I64: 'Long', I32: 'Int', I16: 'Short', I8: 'Char', U8: 'Byte', BOOL: 'Bool',
};

/**
 * The pickle (protocol 2) of an ordered dictionary of contiguous tensors, as torch.save writes one: the storage of tensor i
 * is named by i.
 */
export function statePickle(tensors: readonly TensorHead[]): Uint8Array {
  const out: number[] = [];
  const encoder = new TextEncoder();
  const op = (...bytes: number[]) => void out.push(...bytes);
  const opcode = (letter: string) => op(letter.charCodeAt(0));
  const global = (module: string, name: string) => op(...encoder.encode(`c${module}\n${name}\n`));
  const text = (value: string) => {
    const bytes = encoder.encode(value);
    opcode('X');
    op(...little(BigInt(bytes.length), 4), ...bytes);
  };
  const integer = (value: number) => {
    const wide = value >= 2 ** 31;
    if (wide) op(0x8a, 8); // LONG1
    else opcode('J');
    op(...little(BigInt(value), wide ? 8 : 4));
  };
  const tuple = (items: () => void) => {
    opcode('(');
    items();
    opcode('t');
  };
  const emptyDictionary = () => {
    global('collections', 'OrderedDict');
    opcode(')');
    opcode('R');
  };

  op(0x80, 2);
  emptyDictionary();
  opcode('(');
  tensors.forEach(({ name, dtype, shape }, i) => {
    text(name);
    global('torch._utils', '_rebuild_tensor_v2');
    tuple(() => {
      tuple(() => {
        text('storage');
        global('torch', `${STORAGES[dtype]}Storage`);
        text(String(i));
        text('cpu');
        integer(elementsOf(shape)!);
      });
      opcode('Q'); // BINPERSID
      integer(0); // where the tensor begins in its storage
      tuple(() => shape.forEach(integer));
      tuple(() => stridesOf(shape).forEach(integer));
      op(0x89); // requires_grad: False
      emptyDictionary(); // hooks
    });
    opcode('R');
  });
  opcode('u');
  opcode('.');
  return Uint8Array.from(out);
}

/** Strides of a contiguous tensor, in elements. */
function stridesOf(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const size of [...shape].reverse()) {
    strides.unshift(stride);
    stride *= Math.max(1, size);
  }
  return strides;
}

const little = (value: bigint, bytes: number): number[] => Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
