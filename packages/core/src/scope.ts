import type * as tf from '@tensorflow/tfjs';
import type { EmbeddingPoint, LinearPoint, LinearSite, ModelWeight, NormPoint, Point, SitePoint, SourcePoint, Stage, StagePoint } from './points.ts';
import type { EmbeddingRole, LinearRole, NormRole, SiteRole, StageRole } from './roles.ts';
import type { Step } from './step.ts';
import type { Streams } from './streams.ts';

/** Where a model gets its arrays: by tensor path such as 'joint.0.attention.query.kernel' and shape. The scope's owner disposes them. */
export type TensorSource = (path: string, shape: readonly number[]) => tf.Tensor;

/** All points of one model, in the order in which they were declared. */
export interface Points {
  readonly linear: LinearPoint[];
  readonly norm: NormPoint[];
  readonly embedding: EmbeddingPoint[];
  readonly site: SitePoint[];
  readonly stage: StagePoint[];
  readonly source: SourcePoint[];
}

interface Place {
  readonly prefix: string;
  readonly stream: string | undefined;
  readonly block: number | undefined;
}

/** Where a model under construction names its points. The order of declaration is the order of gates and of reports. */
export class Scope {
  private constructor(
    readonly points: Points,
    private readonly counter: { next: number },
    private readonly paths: Set<string>,
    private readonly tensors: TensorSource,
    private readonly place: Place,
  ) {}

  /** The scope of a new model. */
  static root(tensors: TensorSource): Scope {
    const points: Points = { linear: [], norm: [], embedding: [], site: [], stage: [], source: [] };
    return new Scope(points, { next: 0 }, new Set(), tensors, { prefix: '', stream: undefined, block: undefined });
  }

  /** How many ids are in use: the next one a plugin's own parameter may take. */
  get size(): number {
    return this.counter.next;
  }

  /** A scope inside this one; stream and block are inherited unless given. */
  child(name: string, at: { stream?: string; block?: number } = {}): Scope {
    const { prefix, stream, block } = this.place;
    return new Scope(this.points, this.counter, this.paths, this.tensors, {
      prefix: prefix ? `${prefix}.${name}` : name,
      stream: at.stream ?? stream,
      block: at.block ?? block,
    });
  }

  /** y = x kernel + bias; kernel [in, out]. */
  linear(role: LinearRole, inputs: number, outputs: number): LinearPoint {
    const point = this.point('linear', role);
    const kernel = this.tensors(`${point.path}.kernel`, [inputs, outputs]);
    const bias = this.tensors(`${point.path}.bias`, [outputs]);
    return push(this.points.linear, { ...point, in: inputs, out: outputs, pretrained: { kernel, bias, lowRank: [] } });
  }

  /** Layer normalisation over the last axis, `dim` wide. */
  norm(role: NormRole, dim: number): NormPoint {
    const point = this.point('norm', role);
    const gamma = this.tensors(`${point.path}.gamma`, [dim]);
    const beta = this.tensors(`${point.path}.beta`, [dim]);
    return push(this.points.norm, { ...point, dim, pretrained: { gamma, beta } });
  }

  /** A table of rows, [rows, dim]. */
  embedding(role: EmbeddingRole, rows: number, dim: number, { padding }: { padding?: number } = {}): EmbeddingPoint {
    const point = this.point('embedding', role);
    const table = this.tensors(`${point.path}.table`, [rows, dim]);
    return push(this.points.embedding, { ...point, rows, dim, padding, pretrained: { table } });
  }

  /** A value on its way that plugins may read or change. */
  site(role: SiteRole, at: { stream?: string } = {}): SitePoint {
    return push(this.points.site, { ...this.point('site', role, at.stream), of: undefined });
  }

  /** One use of a linear: two sites, what it reads and what it gives. */
  use(linear: LinearPoint, at: { stream?: string } = {}): LinearSite {
    const output = this.point('site', linear.role, at.stream);
    const role: SiteRole = `${linear.role}.input`;
    const input = push(this.points.site, { ...this.point('site', role, at.stream), of: linear });
    const site: LinearSite = { ...output, of: linear, input };
    this.points.site.push(site);
    return site;
  }

  /** Names a stage; what this scope holds runs inside it. Single-stream stages read and write their own stream. */
  stage(role: StageRole, body: Stage, { width = 1, streams }: { width?: number; streams?: readonly string[] } = {}): Stage {
    const own = streams ?? (this.place.stream === undefined ? [] : [this.place.stream]);
    const point = push(this.points.stage, { ...this.point('stage', role), width, body, reads: own, writes: own, covers: this.place.prefix });
    return (s, step) => step.stage(point, s);
  }

  /** Names a source of streams: inputs turned into tokens. What this scope holds runs inside it. */
  source<I>(writes: readonly string[], body: (inputs: I, step: Step) => Streams): (inputs: I, step: Step) => Streams {
    const point = push(this.points.source, { ...this.point('source', 'source'), writes, covers: this.place.prefix });
    return (inputs, step) => step.source(point, () => body(inputs, step));
  }

  private point<R extends string>(kind: string, role: R, stream = this.place.stream): Point<R> {
    const { prefix, block } = this.place;
    const last = prefix.slice(prefix.lastIndexOf('.') + 1);
    const leaf = role.includes('.') ? role.slice(role.indexOf('.') + 1) : role;
    // A stage that is its scope ('block' in 'joint.0', 'attention' in 'joint.0.attention') takes the scope's own path.
    const whole = (kind === 'stage' && (role === 'block' || role === last)) || kind === 'source';
    const path = prefix === '' ? role : whole ? prefix : `${prefix}.${leaf}`;
    const unique = `${kind} ${path}`;
    if (this.paths.has(unique)) throw new Error(`the model names ${unique} twice`);
    this.paths.add(unique);
    return { id: this.counter.next++, path, role, stream, block };
  }
}

/** Every place of a model that has parameters. */
export const weightsOf = ({ points }: Scope): readonly ModelWeight[] => [...points.linear, ...points.norm, ...points.embedding];

function push<T>(list: { push(item: T): number }, item: T): T {
  list.push(item);
  return item;
}
