import { ConflictError } from './errors.ts';
import type { BeginHook, Hook, MeasureHook, ReadoutHook, StageHook, ValueHook, WeightHook, WeightMode } from './hooks.ts';
import { within, type ParameterPoint, type Point, type SourcePoint, type StagePoint } from './points.ts';
import { includes, variantName, type Variant } from './view.ts';

type Owned<H> = H & { readonly instance: string; readonly trainable: boolean; readonly index: number };
export type OwnedWeight = Owned<WeightHook>;
export type OwnedValue = Owned<ValueHook>;
export type OwnedStage = Owned<StageHook>;

/** The hooks in force for one variant in one pass, by point id. A point nobody hooks has no entry. */
export interface Table {
  readonly weights: readonly (readonly OwnedWeight[] | undefined)[];
  readonly values: readonly (readonly OwnedValue[] | undefined)[];
  readonly stages: readonly (readonly OwnedStage[] | undefined)[];
  /** Whether anything trainable acts inside: such a place cannot run outside the gradient. */
  touched(point: StagePoint | SourcePoint): boolean;
}

export interface Attached {
  readonly instance: string;
  readonly trainable: boolean;
  readonly hooks: readonly Hook[];
  readonly parameters: readonly ParameterPoint[];
  readonly dropout?: boolean; // false: no dropout in steps of the model; default true
}

const MODES: readonly WeightMode[] = ['replace', 'scale', 'add'];

/** All hooks of all plugins, ordered, checked, and compiled into tables once. */
export class Plan {
  readonly begins: readonly { readonly instance: string; readonly hook: BeginHook }[];
  readonly readouts: readonly { readonly instance: string; readonly hook: ReadoutHook }[];
  readonly measures: readonly { readonly instance: string; readonly hook: MeasureHook }[];
  readonly hooks: readonly (OwnedWeight | OwnedValue | OwnedStage)[];
  /** Whether training drops. */
  readonly dropout: boolean;
  /** Why samples that go different ways are not one graph: what a place computes from several of them. */
  mixes: string | undefined;
  private readonly parameters: ReadonlyMap<string, readonly ParameterPoint[]>;
  private readonly tables = new Map<string, Table>();
  private readonly left = new Map<number, boolean>();
  private readonly interned = new Map<string, readonly OwnedWeight[]>();

  /** @throws ConflictError when two plugins replace one weight, or route or repeat one stage. */
  constructor(attached: readonly Attached[]) {
    this.dropout = attached.every((a) => a.dropout ?? true);
    this.parameters = new Map(attached.map((a) => [a.instance, a.parameters]));
    this.begins = attached.flatMap(({ instance, hooks }) =>
      hooks.flatMap((hook) => (hook.kind === 'begin' ? [{ instance, hook }] : [])),
    );
    this.readouts = attached.flatMap(({ instance, hooks }) => hooks.flatMap((hook) => (hook.kind === 'readout' ? [{ instance, hook }] : [])));
    this.measures = attached.flatMap(({ instance, hooks }) => hooks.flatMap((hook) => (hook.kind === 'measure' ? [{ instance, hook }] : [])));
    const owned = attached.flatMap(({ instance, trainable, hooks }) =>
      hooks.flatMap((hook) => (hook.kind === 'begin' || hook.kind === 'readout' || hook.kind === 'measure' ? [] : [{ ...hook, instance, trainable, index: 0 }])),
    );
    this.hooks = owned
      .map((hook, i) => ({ hook, i, rank: rank(hook) }))
      .sort((a, b) => a.rank - b.rank || a.i - b.i)
      .map(({ hook }, index) => ({ ...hook, index }));
    this.check();
  }

  /** The table of a variant in a pass. */
  table(variant: Variant, pass: number): Table {
    const key = `${variantName(variant)}/${pass}`;
    let table = this.tables.get(key);
    if (!table) this.tables.set(key, (table = this.compile(variant, pass)));
    return table;
  }

  /** Whether no plugin acts inside a place, in any variant or pass. */
  leaves(point: StagePoint | SourcePoint): boolean {
    let known = this.left.get(point.id);
    if (known === undefined) this.left.set(point.id, (known = !this.hooks.some((h) => within(h.at.path, point.covers))));
    return known;
  }

  /** The hooks of one plugin instance. */
  of(instance: string): readonly (OwnedWeight | OwnedValue | OwnedStage)[] {
    return this.hooks.filter((h) => h.instance === instance);
  }

  /** Whether anything here sees all tokens of a block on their way: a value hook in it, a hook that edits or repeats it or what it lies in. */
  sees(block: string): boolean {
    return this.hooks.some((h) => (h.kind === 'stage' ? h.mode !== 'route' && (within(h.at.path, block) || within(block, h.at.covers)) : h.kind === 'value' && within(h.at.path, block)));
  }

  /** The variables of one plugin instance. */
  parametersOf(instance: string): readonly ParameterPoint[] {
    return this.parameters.get(instance) ?? [];
  }

  /** The plan in words: one line per plugin, kind, mode and role. */
  explain(): string {
    const rows = new Map<string, { cells: string[]; count: number }>();
    for (const h of this.hooks) {
      const mode = h.kind === 'value' ? 'edit' : h.mode;
      const notes = [h.always ? 'always' : '', h.passes ? passes(h.passes) : '', h.trainable ? '' : 'frozen'].filter(Boolean).join(' ');
      const cells = [h.instance, h.kind, mode, h.at.role + (notes ? ` (${notes})` : '')];
      const key = cells.join('|');
      const row = rows.get(key);
      if (row) row.count++;
      else rows.set(key, { cells, count: 1 });
    }
    for (const { instance } of this.begins) rows.set(`${instance}|begin`, { cells: [instance, 'begin', '', 'once a step'], count: 1 });
    const lines = [...rows.values()];
    const widths = [0, 1, 2].map((c) => Math.max(0, ...lines.map(({ cells }) => cells[c]!.length)));
    return lines
      .map(({ cells, count }) => `${cells.map((x, c) => x.padEnd(widths[c] ?? 0)).join('  ')}  ×${count}`)
      .join('\n');
  }

  private compile(variant: Variant, pass: number): Table {
    const on = this.hooks.filter(
      (h) => (h.always || includes(variant, h.instance)) && (!h.passes || (pass >= h.passes[0] && pass < h.passes[1])),
    );
    const weights: OwnedWeight[][] = [];
    const values: OwnedValue[][] = [];
    const stages: OwnedStage[][] = [];
    for (const h of on) {
      if (h.kind === 'weight') (weights[h.at.id] ??= []).push(h);
      else if (h.kind === 'value') (values[h.at.id] ??= []).push(h);
      else (stages[h.at.id] ??= []).push(h);
    }
    // Whoever trains another plugin's parameters (the tangent of a LoRA) trains what that plugin does.
    const trains = new Set(on.flatMap((h) => (!h.trainable ? [] : isParameter(h.at) ? [h.instance, h.at.instance] : [h.instance])));
    const trained = on.filter((h) => trains.has(h.instance)).map((h) => h.at.path);
    const touched = new Map<number, boolean>();
    return {
      weights: weights.map((list) => this.intern(list)),
      values,
      stages,
      touched: (point) => {
        let known = touched.get(point.id);
        if (known === undefined) touched.set(point.id, (known = trained.some((path) => within(path, point.covers))));
        return known;
      },
    };
  }

  /** Equal lists of hooks are one array in every table, so that an effective weight is shared by all views that see it alike. */
  private intern(list: readonly OwnedWeight[]): readonly OwnedWeight[] {
    const key = list.map((h) => h.index).join(',');
    let known = this.interned.get(key);
    if (!known) this.interned.set(key, (known = list));
    return known;
  }

  private check(): void {
    const claimed = new Map<string, string>();
    for (const h of this.hooks) {
      if (h.kind === 'value' || h.mode === 'edit' || h.mode === 'add' || h.mode === 'scale') continue;
      const key = `${h.mode} ${h.kind} '${h.at.path}'`;
      const other = claimed.get(key);
      if (other !== undefined)
        throw new ConflictError(`'${h.instance}' and '${other}' both ${key}. Narrow one of their 'at' selectors, or drop one.`);
      claimed.set(key, h.instance);
    }
  }
}

const isParameter = (at: Point): at is ParameterPoint => at.role === 'parameter';

const rank = (h: { order?: 'pre' | 'post'; kind: string; mode?: string }): number => {
  const mode = h.kind === 'weight' ? MODES.findIndex((m) => m === h.mode) : 0;
  // Laws before wishes: a replacement comes first whatever its order says.
  return mode * 3 + (h.order === 'pre' ? 0 : h.order === 'post' ? 2 : 1);
};

const passes = ([from, to]: readonly [number, number]) => (Number.isFinite(to) ? `pass ${from} to ${to - 1}` : `pass ${from}+`);
