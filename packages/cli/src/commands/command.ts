import type { z } from 'zod';
import type { Console } from '../console.ts';

/** One command of `espalier`. */
export interface CommandDefinition<S extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly says: string;
  readonly examples: readonly string[];
  readonly settings: S;
  run(settings: z.output<S>, to: Console): Promise<void>;
}

/** Ties a command's `run` to the type of its settings. */
export const command = <S extends z.ZodObject>(definition: CommandDefinition<S>): CommandDefinition<S> => definition;
