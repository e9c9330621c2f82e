import { CheckpointError, dtypeOf, floatToBrain, floatToHalf, layoutSafetensors, type StoredTensor, type TensorHead } from '@espalier/core';

/** Where bytes go one behind the other: a file, a stream's writer. */
export interface ByteSink {
  /** The bytes are the sink's own only until its promise resolves: they may lie in memory that is used again. */
  write(bytes: Uint8Array): Promise<void>;
}

/** A tensor to be written, read when its turn comes. */
export interface TensorToWrite extends TensorHead {
  /** Values row-major in the array type of `dtype`; float32 for F16 and BF16, bytes for BOOL. */
  read(): Promise<StoredTensor['data']>;
}

/**
 * Writes a safetensors file tensor by tensor, laid out as core's `writeSafetensors` does: wide types first, then by
 * name. One tensor is held at a time. F16 and BF16 are rounded to nearest, ties to even. @throws CheckpointError naming
 * the tensor: values of another type or count, a finite value that F16 or BF16 cannot hold.
 */
export async function writeSafetensorsTo(sink: ByteSink, entries: readonly TensorToWrite[], metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const { head, order } = layoutSafetensors(entries, metadata);
  await sink.write(head);
  for (const { tensor, count } of order) {
    const { name, dtype, shape } = tensor;
    const data = await tensor.read();
    if (data.length !== count) throw new CheckpointError(`tensor '${name}': ${data.length} values for shape [${shape.join(', ')}]`);
    if (data instanceof Float32Array && (dtype === 'F16' || dtype === 'BF16')) await writeRounded(sink, name, dtype, data);
    else if (dtypeOf(data) === (dtype === 'BOOL' ? 'U8' : dtype)) {
      if (count > 0) await sink.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    } else throw new CheckpointError(`tensor '${name}': a ${data.constructor.name} cannot be written as ${dtype}`);
  }
}

const CHUNK = 2 ** 18; // values

async function writeRounded(sink: ByteSink, name: string, dtype: 'F16' | 'BF16', data: Float32Array): Promise<void> {
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
    await sink.write(new Uint8Array(chunk.buffer));
  }
}
