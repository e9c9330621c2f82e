import type { z } from 'zod';
import type { Adapted } from './adapt.ts';
import type { Store } from './save.ts';

/** A model as an application opened it for a command. */
export interface Workplace {
  readonly adapted: Adapted<unknown>;
  readonly answers: readonly string[]; // in the order of the logits
  /** What a saved model says, or is to say, of the task it is trained on; see `SaveOptions`. */
  readonly task: unknown;
  /** Inputs of the training split (of a saved model: of the data it was trained on), once through; each is disposed when the next is asked for. */
  batches(): AsyncIterable<unknown>;
  /** Writes a model directory with the plugins of `adapted`, by default all of the workplace's, and what it says of the task, by default the same. */
  save(directory: string, changed?: { readonly adapted?: Adapted<unknown>; readonly task?: unknown }): Promise<void>;
  dispose(): void;
}

/** Files of a model directory, for what a plugin keeps there beside the model. */
export interface DirectoryFiles extends Store {
  /** Does nothing where there is no such file. */
  remove(name: string): Promise<void>;
}

/** What an application lends a command of a plugin. A backend is in force. */
export interface Application {
  /** Backbone, data and plugins, as the application's training composes them from its options. */
  compose(): Promise<Workplace>;
  /** A saved model. */
  open(directory: string): Promise<Workplace>;
  files(directory: string): DirectoryFiles;
  /** Trains with the same options, those of plugins changed by method, and saves the model as the application does. */
  train(directory: string, options: (method: string, options: unknown) => unknown): Promise<void>;
  /** A result: a table for people, with the column names first, or the object for programs. */
  report(title: string, table: readonly (readonly string[])[], result: object): void;
  readonly signal: AbortSignal;
}

/** A command that a plugin adds to an application's own. */
export interface PluginCommand<S extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly says: string;
  readonly examples: readonly string[];
  /** 'training': it takes the options of training beside its own. 'models': it works on saved models. */
  readonly works: 'training' | 'models';
  readonly settings: S;
  run(settings: z.output<S>, application: Application): Promise<void>;
}

/** Ties a command's `run` to the type of its settings. */
export const pluginCommand = <S extends z.ZodObject>(command: PluginCommand<S>): PluginCommand => command;
