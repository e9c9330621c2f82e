import { CheckpointError, dtypeOf, elementsOf, floatToBrain, floatToHalf, type StoredTensor, type TensorHead } from '@espalier/core';

/** A tensor to be written, read when its turn comes. */
export interface TensorToWrite extends TensorHead {
  /** Values row-major in the array type of `dtype`; float32 for F16 and BF16, bytes for BOOL. */
  read(): Promise<StoredTensor['data']>;
}

const CHUNK = 2 ** 18; // values

/**
 * The bytes of a tensor in the order of its values. F16 and BF16 are rounded to nearest, ties to even. @throws
 * CheckpointError naming the tensor: values of another type or count, a finite value that F16 or BF16 cannot hold.
 */
export async function* bytesOf({ name, dtype, shape, read }: TensorToWrite): AsyncGenerator<Uint8Array> {
  const data = await read();
  if (data.length !== elementsOf(shape)) throw new CheckpointError(`tensor '${name}': ${data.length} values for shape [${shape.join(', ')}]`);
  if (data instanceof Float32Array && (dtype === 'F16' || dtype === 'BF16')) yield* rounded(name, dtype, data);
  else if (dtypeOf(data) !== (dtype === 'BOOL' ? 'U8' : dtype)) throw new CheckpointError(`tensor '${name}': a ${data.constructor.name} cannot be written as ${dtype}`);
  else if (data.length > 0) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function* rounded(name: string, dtype: 'F16' | 'BF16', data: Float32Array): Generator<Uint8Array> {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const round = dtype === 'F16' ? floatToHalf : floatToBrain;
  const infinity = dtype === 'F16' ? 0x7c00 : 0x7f80;
  for (let from = 0; from < data.length; from += CHUNK) {
    const chunk = new Uint16Array(Math.min(CHUNK, data.length - from));
    for (let i = 0; i < chunk.length; i++) {
      const half = round(bits[from + i]!);
      if ((half & 0x7fff) === infinity && Number.isFinite(data[from + i]))
        throw new CheckpointError(`tensor '${name}': ${data[from + i]} at place ${from + i} is too large for ${dtype}. Write it as ${dtype === 'F16' ? 'BF16 or F32' : 'F32'}.`);
      chunk[i] = half;
    }
    yield new Uint8Array(chunk.buffer);
  }
}
