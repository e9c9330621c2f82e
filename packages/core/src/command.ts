import type { z } from 'zod';
import type { Adapted } from './adapt.ts';
import type { Manifest, Store } from './save.ts';

/** A saved model, opened by whoever runs a command. */
export interface CommandModel {
  readonly adapted: Adapted<unknown>;
  readonly manifest: Manifest;
  readonly answers: readonly string[]; // in the order of the logits
  /** Writes the model, with the variables it has now, as a directory that opens like the one it came from. */
  save(directory: string): Promise<void>;
  dispose(): void;
}

/** Files of a directory, with removal. */
export interface CommandFiles extends Store {
  remove(name: string): Promise<void>;
}

/** What a plugin's command is run by: where it prints, and what it may open. */
export interface CommandHost {
  out(text: string): void; // results
  err(text: string): void; // messages
  readonly json: boolean; // print one JSON object per line, and nothing else
  readonly signal: AbortSignal; // Ctrl-C
  /** Opens a saved model on its backbone. @throws CheckpointError saying what does not fit. */
  open(directory: string): Promise<CommandModel>;
  files(directory: string): CommandFiles;
}

/** A command that a plugin brings: `espalier NAME`, with one flag per option. `--json`, `--backend` and where weights are come from the program. */
export interface PluginCommand<S extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly says: string;
  readonly examples: readonly string[];
  readonly settings: S; // descriptions by `.meta({ description, value })`
  run(settings: z.output<S>, host: CommandHost): Promise<void>;
}

/** Ties a command's `run` to the type of its settings. */
export const pluginCommand = <S extends z.ZodObject>(command: PluginCommand<S>): PluginCommand => ({
  ...command,
  run: (settings, host) => command.run(command.settings.parse(settings), host),
});
