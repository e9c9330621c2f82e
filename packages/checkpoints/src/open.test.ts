import { readFileSync } from 'node:fs';
import { CheckpointError, readSafetensors, type StoredTensor } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { blobSource, bytesSource, openCheckpoint, type Checkpoint } from './index.ts';

const read = (file: string) => new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
const open = (file: string) => openCheckpoint(bytesSource(read(file), file));
const model = (name: string) => `../../vl-models/fixtures/${name}/model.safetensors`;

/** All tensors of a checkpoint, read into one scratch and into memory of their own, which must agree. */
async function all(checkpoint: Checkpoint): Promise<Map<string, { shape: readonly number[]; data: StoredTensor['data'] }>> {
  const scratch = new ArrayBuffer(2 ** 20);
  const tensors = new Map<string, { shape: readonly number[]; data: StoredTensor['data'] }>();
  for (const [name, tensor] of checkpoint.tensors) {
    new Uint8Array(scratch).fill(0xa5);
    const lent = await tensor.read(scratch);
    const own = await tensor.read();
    expect(lent.buffer).toBe(scratch);
    expect(own).toEqual(lent);
    tensors.set(name, { shape: tensor.shape, data: own });
  }
  return tensors;
}

/** The tensors of a safetensors file of what torch.load gives. */
function expected(file: string) {
  return new Map([...readSafetensors(read(file), file).tensors].map(([name, { shape, data }]) => [name, { shape, data }]));
}

describe('files of torch.save give what torch.load gives', () => {
  it.each(['types', 'views', 'training', 'wrapped'].flatMap((name) => [[name, 'zip', 'torch-zip'], [name, 'legacy', 'torch-legacy']] as const))('%s.%s', async (name, kind, format) => {
    const checkpoint = await open(`${name}.${kind}.pt`);
    expect(checkpoint.format).toBe(format);
    expect(await all(checkpoint)).toEqual(expected(`${name}.expected.safetensors`));
  });

  it.each([
    ['lxmert-tiny/pytorch_model.bin', model('lxmert-tiny')],
    ['lxmert-tiny/model_LXRT.pth', model('lxmert-tiny')],
    ['visualbert-tiny/pytorch_model.bin', 'visualbert-tiny/model.safetensors'],
    ['vlbert-tiny/vl-bert_base_res101_vqa-0004.model', model('vlbert-tiny')],
  ])('%s', async (file, reference) => {
    const found = await all(await open(file));
    const same = await all(await open(reference));
    const plain = (name: string) => name.replace(/^module\./, '').replace(/^(lxmert|bert)\./, '');
    const byName = new Map([...same].map(([name, tensor]) => [plain(name), tensor]));
    const values = new Set([...same.values()].map(({ data }) => data.join()));
    let compared = 0;
    for (const [name, tensor] of found) {
      const other = byName.get(plain(name));
      if (other) expect(tensor).toEqual(other);
      else if (values.has(tensor.data.join())) continue;
      compared += other ? 1 : 0;
    }
    expect(compared).toBe(same.size);
  });
});

void blobSource;
void CheckpointError;
