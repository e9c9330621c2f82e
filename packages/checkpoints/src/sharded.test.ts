import { CheckpointError, writeSafetensors } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { bytesSource, openSharded } from './index.ts';

const shard = (...names: readonly string[]) => writeSafetensors(new Map(names.map((name) => [name, { shape: [2], data: Float32Array.of(1, name.length) }])), { format: 'pt', [names.join()]: 'here' });
const files = () => new Map([['a.safetensors', shard('x', 'yy')], ['b.safetensors', shard('zzz')]]);

/** Opens shards in memory, and says which were opened and closed. */
function folder(content: ReadonlyMap<string, Uint8Array> = files()) {
  const opened: string[] = [];
  const closed: string[] = [];
  const open = async (name: string) => {
    opened.push(name);
    const bytes = content.get(name);
    if (!bytes) throw new CheckpointError(`${name} is missing`);
    return { ...bytesSource(bytes, name), close: async () => void closed.push(name) };
  };
  return { open, opened, closed };
}
const index = (weightMap: unknown, metadata?: unknown) => JSON.stringify({ metadata, weight_map: weightMap });
const good = { x: 'a.safetensors', yy: 'a.safetensors', zzz: 'b.safetensors' };

describe('a checkpoint in shards', () => {
  it('is one checkpoint; each file is opened and closed once', async () => {
    const { open, opened, closed } = folder();
    const checkpoint = await openSharded(index(good, { total_size: 24 }), open, 'dir/index.json');
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['x', 'yy', 'zzz']);
    expect(await checkpoint.tensors.get('zzz')!.read()).toEqual(Float32Array.of(1, 3));
    expect(checkpoint).toMatchObject({ name: 'dir/index.json', format: 'safetensors', metadata: { format: 'pt', 'x,yy': 'here', zzz: 'here' } });
    expect(opened).toEqual(['a.safetensors', 'b.safetensors']);
    await checkpoint.close();
    expect(closed).toEqual(opened);
  });

  it.each<[string, string, string]>([
    ['no JSON', '{', 'no JSON object'],
    ['no map', '{}', 'weight_map is missing'],
    ['a list', index(['a.safetensors']), 'weight_map is missing'],
    ['an empty map', index({}), 'weight_map is empty'],
    ['a number as file', index({ ...good, x: 1 }), "weight_map['x'] is 1"],
    ['a name that stands twice', '{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}', 'stands twice'],
    ['a parent folder', index({ ...good, x: '../a.safetensors' }), 'the plain name of a file'],
    ['a folder', index({ ...good, x: 'sub/a.safetensors' }), 'the plain name of a file'],
    ['an absolute path', index({ ...good, x: '/a.safetensors' }), 'the plain name of a file'],
    ['a path of Windows', index({ ...good, x: 'C:\\a.safetensors' }), 'the plain name of a file'],
    ['a URL', index({ ...good, x: 'file:a' }), 'the plain name of a file'],
    ['dots', index({ ...good, x: '..' }), 'the plain name of a file'],
    ['a line feed', index({ ...good, x: 'a.safetensors\n' }), 'the plain name of a file'],
    ['a tensor of another shard', index({ ...good, x: 'b.safetensors' }), "a.safetensors: holds 'x', which model.safetensors.index.json lists in b.safetensors"],
    ['a tensor that is not listed', index({ x: 'a.safetensors', zzz: 'b.safetensors' }), "a.safetensors: holds 'yy', which model.safetensors.index.json does not list"],
    ['a tensor that is not there', index({ ...good, w: 'b.safetensors' }), "lists 'w' in b.safetensors, which does not hold it"],
    ['a prototype as tensor', '{"weight_map":{"__proto__":"a.safetensors","x":"a.safetensors","yy":"a.safetensors","zzz":"b.safetensors"}}', "lists '__proto__' in a.safetensors"],
    ['a file that is not there', index({ ...good, w: 'c.safetensors' }), 'c.safetensors is missing'],
    ['another total', index(good, { total_size: 25 }), 'total_size is 25, the tensors of its shards have 24 bytes'],
    ['a total of text', index(good, { total_size: '24' }), 'total_size is no count'],
  ])('is refused for %s, and what was opened is closed', async (_, text, words) => {
    const { open, opened, closed } = folder();
    const sharded = openSharded(text, open);
    await expect(sharded).rejects.toThrow(CheckpointError);
    await expect(sharded).rejects.toThrow(words);
    expect(closed).toEqual(opened.filter((name) => files().has(name)));
  });
});
