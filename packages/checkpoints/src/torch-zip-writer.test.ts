import { describe, expect, it } from 'vitest';
import { bytesSource, openCheckpoint, writeTorchZipTo, type TensorToWrite } from './index.ts';

const tensors: TensorToWrite[] = [
  { name: 'b.weight', dtype: 'F32', shape: [2, 3], read: () => Promise.resolve(Float32Array.of(1, -0, 3.5, 1e-40, Infinity, -6)) },
  { name: 'a.ids', dtype: 'I64', shape: [2], read: () => Promise.resolve(BigInt64Array.of(-1n, 2n ** 40n)) },
  { name: 'half', dtype: 'F16', shape: [3], read: () => Promise.resolve(Float32Array.of(0.5, -2, 65504)) },
  { name: 'brain', dtype: 'BF16', shape: [1, 1], read: () => Promise.resolve(Float32Array.of(-1.5)) },
  { name: 'scale', dtype: 'F32', shape: [], read: () => Promise.resolve(Float32Array.of(7)) },
  { name: 'none', dtype: 'F32', shape: [0, 4], read: () => Promise.resolve(new Float32Array(0)) },
  { name: 'flags', dtype: 'BOOL', shape: [2], read: () => Promise.resolve(Uint8Array.of(1, 0)) },
  { name: 'ünï', dtype: 'I8', shape: [1], read: () => Promise.resolve(Int8Array.of(-5)) },
];

async function written(entries: readonly TensorToWrite[]): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await writeTorchZipTo({ write: (bytes) => Promise.resolve(void parts.push(bytes.slice())) }, entries);
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

describe('a zip of torch.save that is written', () => {
  it('is read back, by name, value and type', async () => {
    const checkpoint = await openCheckpoint(bytesSource(await written(tensors), 'state.pt'));
    expect(checkpoint.format).toBe('torch-zip');
    expect([...checkpoint.tensors.keys()]).toEqual(tensors.map((t) => t.name).sort());
    for (const { name, dtype, shape, read } of tensors) {
      const found = checkpoint.tensors.get(name)!;
      expect([found.dtype, found.shape]).toEqual([dtype, shape]);
      expect(await found.read()).toEqual(await read());
    }
  });

  it('is the same for the same tensors, whatever their order', async () => {
    expect(await written([...tensors].reverse())).toEqual(await written(tensors));
  });

  it('names the tensor that its type cannot hold', async () => {
    const large: TensorToWrite = { name: 'large', dtype: 'F16', shape: [1], read: () => Promise.resolve(Float32Array.of(1e6)) };
    await expect(written([large])).rejects.toThrow("tensor 'large': 1000000 at place 0 is too large for F16");
    await expect(written([tensors[0]!, tensors[0]!])).rejects.toThrow("tensor 'b.weight' stands there twice");
    const short: TensorToWrite = { name: 'short', dtype: 'F32', shape: [2], read: () => Promise.resolve(Float32Array.of(1)) };
    await expect(written([short])).rejects.toThrow("tensor 'short': 1 values for shape [2]");
  });
});
