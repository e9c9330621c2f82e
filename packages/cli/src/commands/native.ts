import { TFJS_NODE } from '@espalier/core/backend';
import { z } from 'zod';
import { printJson } from '../console.ts';
import { UsageError } from '../errors.ts';
import { makeNative, type NativeResult } from '../native/make.ts';
import { command } from './command.ts';

const NativeSettings = z.strictObject({
  package: z.enum(TFJS_NODE).optional().meta({ description: 'tfjs-node or tfjs-node-gpu; default the one that the project has installed', value: 'NAME' }),
  tensorflow: z.string().min(1).optional().meta({ description: "the folder 'tensorflow' of an installed TensorFlow wheel; default that of python3", value: 'DIR' }),
  vendor: z.boolean().default(false).meta({ description: "run the package's own install script, which downloads TensorFlow 2.9, instead" }),
  json: z.boolean().default(false).meta({ description: 'print the result as one JSON object' }),
});

export const native = command({
  name: 'native',
  says: "Give the working directory's @tensorflow/tfjs-node or tfjs-node-gpu a binary that works, and try it",
  examples: ['espalier native --tensorflow tf/lib/python3.11/site-packages/tensorflow', 'espalier native --package tfjs-node-gpu --vendor'],
  settings: NativeSettings,
  run: async ({ package: name, tensorflow, vendor, json }, to) => {
    if (vendor && tensorflow !== undefined) throw new UsageError('--vendor brings its own TensorFlow: leave out --tensorflow, or --vendor to build against that one');
    const { env, execPath, platform } = process;
    const result = await makeNative({ project: process.cwd(), package: name, tensorflow, vendor, env, execPath, platform, signal: to.signal, note: (text) => to.err(text) });
    if (json) printJson(to, result);
    else to.out(`${describe(result)}\n`);
  },
});

function describe({ package: name, version, tensorflow, device, binary, built }: NativeResult): string {
  const facts = [
    ['package', `${name} ${version}`],
    ['TensorFlow', `${tensorflow} on the ${device}`],
    ['checked', 'a matrix product and its gradient have the known values'],
    ['binary', binary],
    ...(built ? [['wheel', `${built.wheel} (the binary needs it there)`], ['compiler', built.compiler], ["Node's headers", built.headers]] : [['made by', "the package's own install script"]]),
    ['use', `--backend ${name.replace('@tensorflow/', '')}, which auto takes by itself in this project`],
  ];
  return facts.map(([what, value]) => `${what!.padEnd(14)}  ${value}`).join('\n');
}
