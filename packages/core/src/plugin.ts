import type * as tf from '@tensorflow/tfjs';
import type { z } from 'zod';
import { OptionsError } from './errors.ts';
import type { Adapted, Model } from './adapt.ts';
import type { PluginCommand } from './command.ts';
import type { Hook } from './hooks.ts';
import type { Initializer } from './initializers.ts';
import { explainIssues } from './options.ts';
import type { EmbeddingPoint, LinearPoint, ModelWeight, NormPoint, ParameterPoint, SitePoint, StagePoint } from './points.ts';
import type { EmbeddingRole, LinearRole, NormRole, SiteRole, StageRole, WeightRole } from './roles.ts';
import type { PrivacyRequest, PrivateTraining } from './private-training.ts';
import type { Select } from './select.ts';
import type { Slot } from './shared.ts';

/** The version of the hook contract that this core implements; a plugin made for another major is refused. */
export const HOOK_API = '1.0';

/**
 * How the variables of a group are best moved, as plain data: what a plugin asks for and whoever trains may override. What is
 * left out is as for all other variables.
 */
export interface GroupDefaults {
  readonly optimiser?: string; // by its name in the command: 'sgd'
  readonly rate?: number; // peak learning rate
  readonly weightDecay?: number;
  readonly schedule?: string; // 'constant', 'linear' or 'cosine'
  readonly warmup?: number; // below 1 a fraction of the run, else steps
  readonly clip?: number | 'none'; // largest norm of the group's own gradient, apart from all others
}

/** What a plugin is given to attach with. A select that matches nothing throws. Points come in the model's own order. */
export interface Host {
  /** The frozen model, for policies: its inputs are those of the step. */
  readonly model: Model<unknown>;
  linears(at?: Select<LinearRole>): LinearPoint[];
  norms(at?: Select<NormRole>): NormPoint[];
  embeddings(at?: Select<EmbeddingRole>): EmbeddingPoint[];
  /** Linears, norms and embeddings. */
  weights(at?: Select<WeightRole>): ModelWeight[];
  sites(at: Select<SiteRole>): SitePoint[];
  stages(at: Select<StageRole>): StagePoint[];
  readonly streams: readonly string[];
  /** A variable named `instance/path`, drawn from the generator keyed by (seed, 'init', name); trainable unless its group is `FROZEN`. */
  variable(path: string, shape: readonly number[], initializer: Initializer, group?: string): ParameterPoint;
  /** A frozen array `instance/path`, drawn like a variable from the generator keyed by (seed, 'init', name): drawn again whenever the plugin is attached, never saved. */
  constant(path: string, shape: readonly number[], initializer: Initializer): tf.Tensor;
  /** The shapes of a place's arrays by part, as the plugins attached before this one leave them; a low-rank tail is not among them. */
  shapes(at: ModelWeight): ReadonlyMap<string, readonly number[]>;
  /** Says how the variables of a group are best moved. @throws ConflictError when another plugin said otherwise. */
  group(name: string, defaults: GroupDefaults): void;
  /** The variables of an instance attached before this one, as places to hook. */
  parameters(instance: string): readonly ParameterPoint[];
  /** A typed key for what this plugin keeps during one step. */
  slot<T>(name: string): Slot<T>;
}

/** A plugin as it is given to `adapt`: a value, made by its factory. */
export interface Plugin {
  readonly name: string; // of the method: 'lora'
  readonly instance: string; // of this use of it: 'lora' or 'lora#a'
  readonly version: string;
  readonly options: unknown; // as parsed: plain data with all defaults filled in
  readonly trainable: boolean;
  /** Its output is affine in its variables, about a base that must not move: whatever stands beside it is frozen, or linearises too. */
  readonly linearises?: boolean;
  /** false: steps of a model that has it run without dropout. */
  readonly dropout?: boolean;
  /** Differentially private training of its variables. @throws OptionsError for what cannot be promised. */
  privately?<I>(adapted: Adapted<I>, wanted: PrivacyRequest): PrivateTraining<I>;
  attach(host: Host): readonly Hook[];
  /** Sets first values that depend on data; see `Adapted.prepare`. */
  prepare?(adapted: Adapted<unknown>, batches: AsyncIterable<unknown>): Promise<void>;
}

export interface Named {
  readonly as?: string; // 'a' makes the instance 'lora#a'
  readonly trainable?: boolean; // false: in force, but not in the optimiser's list
}

export interface PluginFactory<I = unknown> extends Restorer {
  (options?: I, named?: Named): Plugin;
  readonly schema: z.ZodType<unknown, I>;
  readonly commands?: readonly PluginCommand[];
}

/** What a plugin can be made from when its options come from a file; every factory is one. */
export interface Restorer {
  readonly method: string;
  readonly version: string;
  /** As the factory, from options of unknown type. @throws OptionsError when they are not what the schema asks for. */
  from(options: unknown, named?: Named): Plugin;
}

export interface Definition<O, I> {
  readonly name: string;
  readonly version: string;
  readonly hookApi: string;
  /** A strict object with defaults. */
  readonly options: z.ZodType<O, I>;
  /** See `Plugin`; default false. */
  linearises?(options: O): boolean;
  /** See `Plugin`; default true. */
  dropout?(options: O): boolean;
  /** See `Plugin`; `instance` is the one that trains. */
  privately?<N>(adapted: Adapted<N>, instance: string, wanted: PrivacyRequest): PrivateTraining<N>;
  attach(host: Host, options: O): readonly Hook[];
  /** What it adds to the command line of an application. */
  readonly commands?: readonly PluginCommand[];
  /** Sets first values of the variables of an instance that depend on data, from some inputs of the training split. */
  prepare?(adapted: Adapted<unknown>, instance: string, options: O, batches: AsyncIterable<unknown>): Promise<void>;
}

/**
 * Makes a plugin factory from what the plugin is: a name, a version, a schema of its options, and what it does when
 * attached. @throws OptionsError for options the schema refuses, with the nearest option names.
 */
export function definePlugin<O, I>(definition: Definition<O, I>): PluginFactory<I> {
  const { name, version, hookApi, options: schema, attach, prepare, linearises, dropout, privately, commands = [] } = definition;
  if (hookApi.split('.')[0] !== HOOK_API.split('.')[0])
    throw new OptionsError(`plugin '${name}' ${version} is made for hook API ${hookApi}, this core has ${HOOK_API}. Install a matching version of either.`);
  const from = (given?: unknown, { as, trainable = true }: Named = {}): Plugin => {
    const instance = as === undefined ? name : `${name}#${as}`;
    if (as !== undefined && !/^[\w.-]+$/.test(as))
      throw new OptionsError(`'${as}' is not an instance name: use letters, digits, '.', '_' and '-'`);
    const parsed = schema.safeParse(given ?? {});
    if (!parsed.success) throw new OptionsError(explainIssues(instance, schema, parsed.error));
    const options = parsed.data;
    return {
      name, instance, version, options, trainable, attach: (host) => attach(host, options),
      linearises: linearises?.(options) ?? false, dropout: dropout?.(options) ?? true,
      ...(privately && { privately: (adapted, wanted) => privately(adapted, instance, wanted) }),
      ...(prepare && { prepare: (adapted: Adapted<unknown>, batches: AsyncIterable<unknown>) => prepare(adapted, instance, options, batches) }),
    };
  };
  return Object.assign((given?: I, named?: Named) => from(given, named), { method: name, version, schema, commands, from });
}
