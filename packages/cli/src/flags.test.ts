import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { UsageError } from './errors.ts';
import { addFlags, readSettings } from './flags.ts';
import { EvalSettings, ForwardSettings, InspectSettings, PredictSettings, TrainSettings } from './settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-flags-'));
afterAll(() => rmSync(folder, { recursive: true }));

function configFile(name: string, content: string): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

/** Flags as commander reads them. */
function flags(...args: string[]): Record<string, unknown> {
  const command = addFlags(new Command('train'), TrainSettings).exitOverride().configureOutput({ writeErr: () => {} });
  command.parse(args, { from: 'user' });
  return command.opts();
}

describe('options', () => {
  it('have a flag and a description each', () => {
    for (const schema of [TrainSettings, EvalSettings, PredictSettings, InspectSettings, ForwardSettings]) {
      const { options } = addFlags(new Command('x'), schema);
      expect(options).toHaveLength(Object.keys(schema.shape).length);
      expect(options.map((o) => o.attributeName())).toEqual(Object.keys(schema.shape));
      expect(options.filter((o) => o.description.length < 10)).toEqual([]);
    }
  });

  it('come from flags, with defaults', async () => {
    const settings = await readSettings(TrainSettings, flags('--batch-size', '16', '--lr', '3e-3', '--plugin', 'lora', '--plugin', 'tune#b:{"preset":"bitfit"}', '--clip', 'none', '--resume'));
    expect(settings).toMatchObject({ batchSize: 16, lr: 0.003, plugin: ['lora', 'tune#b:{"preset":"bitfit"}'], clip: 'none', resume: true, epochs: 5, data: 'shapes', json: false });
  });

  it('come from a file too; flags win', async () => {
    const file = configFile('good.json', '{"epochs": 3, "lr": 0.5, "plugin": [{"name": "lora", "options": {"rank": 2}}]}');
    const settings = await readSettings(TrainSettings, flags('--config', file, '--epochs', '7'));
    expect(settings).toMatchObject({ epochs: 7, lr: 0.5, plugin: [{ name: 'lora', options: { rank: 2 } }] });
  });
});

describe('a mistake', () => {
  const refusal = async (...args: string[]): Promise<string> => {
    const failure: unknown = await readSettings(TrainSettings, flags(...args)).catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(UsageError);
    return failure instanceof Error ? failure.message : '';
  };

  it('in a flag is named, with the nearest', async () => {
    expect(() => flags('--epoch', '3')).toThrow(/unknown option '--epoch'\s+\(Did you mean --epochs\?\)/);
    expect(await refusal('--epochs', 'many')).toMatch(/--epochs is "many": .*expected number/);
    expect(await refusal('--epochs', '2.5')).toMatch(/--epochs is 2.5: .*expected int/);
    expect(await refusal('--batch-size', '0')).toMatch(/--batch-size is 0: /);
    expect(await refusal('--backbone', 'lxmrt')).toMatch(/--backbone is "lxmrt".*Did you mean 'lxmert'\?/);
    expect(await refusal('--schedule', 'cosin')).toMatch(/Did you mean 'cosine'\?/);
    expect(await refusal('--optimiser', 'bertadam')).toMatch(/--optimiser is "bertadam".*Did you mean 'bert-adam'/);
    expect(await refusal('--clip', 'non')).toMatch(/--clip is "non": expected a positive number or 'none'/);
  });

  it('in a file is named with the file and key', async () => {
    const misspelt = configFile('misspelt.json', '{"epoch": 3}');
    expect(await refusal('--config', misspelt)).toBe(`${misspelt}: there is no option 'epoch'. Did you mean 'epochs'? Options are ${Object.keys(TrainSettings.shape).filter((k) => k !== 'config').join(', ')}.`);
    const wrong = configFile('wrong.json', '{"epochs": "3"}');
    expect(await refusal('--config', wrong)).toMatch(new RegExp(`^${wrong}: 'epochs' is "3": .*expected number`));
    const malformed = configFile('malformed.json', '{\n "epochs": 3,\n "lr" 1\n}');
    expect(await refusal('--config', malformed)).toMatch(/malformed\.json: not JSON at line 3, column 7: [^\n]*\n {3}"lr" 1\n {8}\^/);
    expect(await refusal('--config', configFile('list.json', '[1]'))).toMatch(/list\.json is no JSON object of options/);
    expect(await refusal('--config', join(folder, 'absent.json'))).toMatch(/absent\.json cannot be read/);
    const inner = configFile('inner.json', '{"plugin": [{"name": "lora", "option": {}}]}');
    expect(await refusal('--config', inner)).toMatch(/inner\.json: 'plugin\.0': there is no option 'option'\. Did you mean 'options'\? Options are name, as, options\./);
  });

  it('of leaving out what is required is named with what it is', async () => {
    await expect(readSettings(PredictSettings, { model: 'x', image: 'y' })).rejects.toThrow(/^--question is missing: what to ask about it$/);
  });
});
