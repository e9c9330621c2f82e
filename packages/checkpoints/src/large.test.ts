import { describe, expect, it } from 'vitest';
import { bytesOf, dict, int, legacyFile, op, pickle, storage, tensor, text, tuple, u32, u64, type Part } from '../fixtures/pickle-bytes.ts';
import { openCheckpoint, type ByteSource, type Checkpoint } from './index.ts';

/** Files of more than 4 GiB that are zero but for a few places, so that nothing of their size exists. */
function sparse(size: number, pieces: readonly (readonly [number, Uint8Array])[]): ByteSource {
  return {
    name: 'large',
    size,
    read: async (offset, target) => {
      target.fill(0);
      for (const [at, bytes] of pieces) {
        const from = Math.max(at, offset);
        const to = Math.min(at + bytes.length, offset + target.length);
        if (from < to) target.set(bytes.subarray(from - at, to - at), from - offset);
      }
    },
    close: async () => {},
  };
}

const COUNT = 1_200_000_000; // float32 values, 4.8 GB
const floats = (...values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
const object = pickle(dict(['last', tensor(storage('0', COUNT), int(COUNT - 2), tuple(int(2)))], ['behind', tensor(storage('1', 2), int(0), tuple(int(2)))]));

async function check(checkpoint: Checkpoint) {
  expect(await checkpoint.tensors.get('last')!.read()).toEqual(Float32Array.of(7, 8));
  expect(await checkpoint.tensors.get('behind')!.read()).toEqual(Float32Array.of(1, 2));
}

describe('files of more than 4 GiB', () => {
  it('safetensors', async () => {
    const end = 4 * COUNT;
    const header = JSON.stringify({ first: { dtype: 'F32', shape: [COUNT - 2], data_offsets: [0, end - 8] }, last: { dtype: 'F32', shape: [2], data_offsets: [end - 8, end] }, behind: { dtype: 'F32', shape: [2], data_offsets: [end, end + 8] } });
    const head = bytesOf(u64(header.length), new TextEncoder().encode(header));
    await check(await openCheckpoint(sparse(head.length + end + 8, [[0, head], [head.length + end - 8, floats(7, 8, 1, 2)]])));
  });

  it('the stream of torch.save', async () => {
    const pickles = legacyFile(object, []).slice(0, -pickle(op.emptyList, op.mark, op.appends).length);
    const head = bytesOf(pickles, pickle(op.emptyList, op.mark, text('0'), text('1'), op.appends), u64(COUNT));
    const end = head.length + 4 * COUNT;
    await check(await openCheckpoint(sparse(end + 16, [[0, head], [end - 8, bytesOf(floats(7, 8), u64(2), floats(1, 2))]])));
  });

  it('the zip of torch.save, with zip64 sizes and offsets', async () => {
    const entries: { readonly name: string; readonly size: number; readonly content: Uint8Array; readonly at: number }[] = [];
    let at = 0;
    for (const [name, content, size] of [['data.pkl', object, object.length], ['data/0', floats(7, 8), 4 * COUNT], ['data/1', floats(1, 2), 8]] as const) {
      entries.push({ name: `archive/${name}`, size, content, at });
      at += 30 + `archive/${name}`.length + size;
    }
    const ascii = (name: string) => new TextEncoder().encode(name);
    const fields: Part = [45, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // version, sizes behind the data, stored, no time, no checksum
    const directory = bytesOf(entries.map(({ name, size, at }) => [u32(0x02014b50), 45, 0, fields, u32(2 ** 32 - 1), u32(2 ** 32 - 1), name.length, 0, 28, 0, 0, 0, 0, 0, 0, 0, u32(0), u32(2 ** 32 - 1), ascii(name), 1, 0, 24, 0, u64(size), u64(size), u64(at)]));
    const counts: Part = [u64(entries.length), u64(entries.length), u64(directory.length), u64(at)];
    const end = bytesOf(
      directory,
      u32(0x06064b50), u64(44), 45, 0, 45, 0, u32(0), u32(0), counts,
      u32(0x07064b50), u32(0), u64(at + directory.length), u32(1),
      u32(0x06054b50), 0, 0, 0, 0, 255, 255, 255, 255, u32(2 ** 32 - 1), u32(2 ** 32 - 1), 0, 0,
    );
    const pieces = entries.flatMap(({ name, size, content, at }): [number, Uint8Array][] => {
      const header = bytesOf(u32(0x04034b50), fields, u32(0), u32(0), name.length, 0, 0, 0, ascii(name));
      return [[at, header], [at + header.length + size - content.length, content]];
    });
    expect(entries[2]!.at).toBeGreaterThan(2 ** 32);
    await check(await openCheckpoint(sparse(at + end.length, [...pieces, [at, end]])));
  });
});
