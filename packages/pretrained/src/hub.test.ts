import { EspalierError } from '@espalier/core';
import { expect, it } from 'vitest';
import { loadHub } from './hub.ts';

it('finds the client that is installed', async () => {
  expect((await loadHub('owner/name')).HUB_URL).toMatch(/^https:/);
});

it('says how to install it where it is not', async () => {
  const absent = () => Promise.reject(Object.assign(new Error("Cannot find package '@huggingface/hub'"), { code: 'ERR_MODULE_NOT_FOUND' }));
  const failure: unknown = await loadHub('owner/name', absent).catch((e: unknown) => e);
  expect(failure).toBeInstanceOf(EspalierError);
  expect(failure).toMatchObject({ message: expect.stringMatching(/'owner\/name' is on the Hugging Face Hub, whose client is not installed\. Run\n {2}npm install @huggingface\/hub@2\.17\.5\nor give a directory/) });
});

it('hands on why one that is installed does not load', async () => {
  const broken = new SyntaxError('unexpected token');
  await expect(loadHub('owner/name', () => Promise.reject(broken))).rejects.toBe(broken);
});
