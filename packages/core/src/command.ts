import type { z } from 'zod';
import type { Adapted } from './adapt.ts';

/** A model as an application opened it for a command. */
export interface Workplace {
  readonly adapted: Adapted<unknown>;
  /** Inputs of the training split (of a saved model: of the data it was trained on), once through; each is disposed when the next is asked for. */
  batches(): AsyncIterable<unknown>;
  /** Writes a model directory with the plugins of `adapted`, by default all of the workplace's. */
  save(directory: string, adapted?: Adapted<unknown>): Promise<void>;
  dispose(): void;
}

/** What an application lends a command of a plugin. A backend is in force. */
export interface Application {
  /** Backbone, data and plugins, as the application's training composes them from its options. */
  compose(): Promise<Workplace>;
  /** A saved model. */
  open(directory: string): Promise<Workplace>;
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
