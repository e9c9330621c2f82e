import { EspalierError } from '@espalier/core';
import { registeredPlugins } from '@espalier/train';
import { Command, CommanderError } from 'commander';
import type { z } from 'zod';
import type { CommandDefinition } from './commands/command.ts';
import { convert } from './commands/convert.ts';
import { evalCommand } from './commands/eval.ts';
import { explain } from './commands/explain.ts';
import { forward } from './commands/forward.ts';
import { inspect } from './commands/inspect.ts';
import { merge } from './commands/merge.ts';
import { native } from './commands/native.ts';
import { predict } from './commands/predict.ts';
import { trainShards } from './commands/train-shards.ts';
import { train } from './commands/train.ts';
import type { Console } from './console.ts';
import { Interrupted, UsageError } from './errors.ts';
import { addFlags, readSettings } from './flags.ts';
import { commandOf } from './plugin-command.ts';
import { compositionRoot } from './plugins.ts';
import { cliVersion } from './summary.ts';

/** 0: done; 1: an error; 2: a command line that does not say what to do; 130: stopped by Ctrl-C. */
export type ExitCode = 0 | 1 | 2 | 130;

/** Runs one command line and gives the exit code. Errors are printed as their message; with ESPALIER_DEBUG=1 as their stack. */
export async function runCommand(args: readonly string[], to: Console): Promise<ExitCode> {
  const program = new Command('espalier')
    .description('Parameter-efficient fine-tuning of vision-language transformers, with plugins')
    .version(cliVersion(), '--version', 'print the version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => to.out(text), writeErr: (text) => to.err(text) })
    .addHelpText('after', `\nExamples:\n${[train, trainShards, evalCommand, predict, explain, inspect, forward, merge, convert, native].map((c) => `  ${c.examples[0]}`).join('\n')}\n\nespalier COMMAND --help lists a command's options.`);
  add(program, train, to);
  add(program, trainShards, to);
  add(program, evalCommand, to);
  add(program, predict, to);
  add(program, explain, to);
  add(program, inspect, to);
  add(program, forward, to);
  add(program, merge, to);
  add(program, convert, to);
  add(program, native, to);
  const container = compositionRoot();
  for (const { commands = [] } of registeredPlugins(container)) for (const own of commands) add(program, commandOf(own, container), to);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return 0;
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode === 0 ? 0 : 2; // it has said what is wrong
    to.err(`${to.signal.aborted && e === to.signal.reason ? 'espalier: stopped' : described(e)}\n`);
    if (e instanceof Interrupted || to.signal.aborted) return 130;
    return e instanceof UsageError ? 2 : 1;
  }
}

function add<S extends z.ZodObject>(program: Command, { name, says, examples, settings, run }: CommandDefinition<S>, to: Console): void {
  const command = addFlags(program.command(name).description(says), settings);
  command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`);
  command.action(async (flags: Record<string, unknown>) => run(await readSettings(settings, flags), to));
}

function described(e: unknown): string {
  if (!(e instanceof Error)) return String(e);
  if (process.env['ESPALIER_DEBUG'] === '1') return e.stack ?? e.message;
  // An error of ours says all there is to say; any other is named, and where more can be learned.
  return e instanceof EspalierError ? `espalier: ${e.message}` : `espalier: ${e.name}: ${e.message} (ESPALIER_DEBUG=1 shows where)`;
}
