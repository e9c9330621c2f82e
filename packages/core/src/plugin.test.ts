import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { nearest, OptionsError } from './errors.ts';
import { selectSchema } from './options.ts';
import { definePlugin } from './plugin.ts';
import type { LinearRole } from './roles.ts';

const options = z.strictObject({
  rank: z.int().positive().default(8),
  alpha: z.number().default(16),
  at: selectSchema<LinearRole>().default({ role: 'attention.query' }),
  mode: z.enum(['a', 'b']).optional(),
});
const lora = definePlugin({ name: 'lora', version: '1.2.0', hookApi: '1.0', options, attach: () => [] });
const message = (f: () => unknown): string => {
  try {
    f();
  } catch (e) {
    expect(e).toBeInstanceOf(OptionsError);
    return (e as Error).message;
  }
  throw new Error('nothing was thrown');
};

describe('a plugin', () => {
  it('is a value with its options filled in', () => {
    expect(lora()).toMatchObject({ name: 'lora', instance: 'lora', version: '1.2.0', trainable: true, options: { rank: 8, alpha: 16, at: { role: 'attention.query' } } });
    expect(lora({ rank: 2 }, { as: 'a.1', trainable: false })).toMatchObject({ instance: 'lora#a.1', trainable: false, options: { rank: 2 } });
    expect(lora.from({ rank: 4 }).options).toEqual(lora({ rank: 4 }).options);
    expect([lora.method, lora.version]).toEqual(['lora', '1.2.0']);
  });

  it('made for another major version of the hooks is refused with the remedy', () => {
    const make = (hookApi: string) => definePlugin({ name: 'old', version: '0.9.0', hookApi, options, attach: () => [] });
    expect(message(() => make('2.0'))).toBe("plugin 'old' 0.9.0 is made for hook API 2.0, this core has 1.0. Install a matching version of either.");
    expect(message(() => make('0.4'))).toContain('hook API 0.4');
    expect(make('1.7')().instance).toBe('old');
  });

  it.each([['a/b'], ['a b'], [''], ['#']])('cannot be called %j', (as) => {
    expect(message(() => lora({}, { as }))).toContain(`'${as}' is not an instance name`);
  });
});

describe('options that are refused', () => {
  it.each([
    [{ rnk: 4 }, "'lora' has no option 'rnk'. Did you mean 'rank'? Options are rank, alpha, at, mode."],
    [{ rank: 0 }, "'lora' option 'rank':"],
    [{ rank: '8' }, "'lora' option 'rank':"],
    [{ mode: 'c' }, "'lora' option 'mode':"],
    [{ at: { rol: 'attention.key' } }, "'lora' has no option 'at.rol'. Did you mean 'role'? Options are role, stream, block, path."],
    [{ at: { role: [] } }, "'lora' option 'at.role':"],
    [{ at: { role: ['attention.key', 3] } }, "'lora' option 'at.role.1': expected the name of a role"],
    [{ at: { block: [3, 1] } }, "'lora' option 'at.block': expected [from, to] with from < to; to is exclusive"],
    [{ at: { block: [0] } }, "'lora' option 'at.block'"],
    [{ at: 'attention.key' }, "'lora' option 'at':"],
    ['rank', "'lora' options:"],
    [null, "'lora' options:"],
  ])('%j', (given, words) => {
    expect(message(() => lora.from(given === null ? 0 : given))).toContain(words);
  });

  it('name the instance', () => {
    expect(message(() => lora.from({ rank: -1 }, { as: 'b' }))).toContain("'lora#b' option 'rank'");
  });
});

describe('selections in options', () => {
  const schema = selectSchema<LinearRole>();
  it.each([[{}], [{ role: 'ffn.up' }], [{ role: ['ffn.up', 'ffn.down'], stream: 'text', block: [0, 4], path: ['joint.0', 'joint.1'] }]])('%j goes through JSON unchanged', (at) => {
    const parsed = schema.parse(at);
    expect(parsed).toEqual(at);
    expect(schema.parse(JSON.parse(JSON.stringify(parsed)))).toEqual(at);
  });
});

describe('nearest names', () => {
  it('come best first, and only when they are near', () => {
    expect(nearest('attention.qurey', ['attention.query', 'attention.key', 'ffn.up'])).toEqual(['attention.query', 'attention.key']);
    expect(nearest('RANK', ['rank', 'alpha'])).toEqual(['rank']);
    expect(nearest('something else', ['rank', 'alpha'])).toEqual([]);
    expect(nearest('aa', ['ab', 'ac', 'ad', 'ae', 'ab'], 2)).toEqual(['ab', 'ac']);
  });
});
