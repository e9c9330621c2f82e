import { EspalierError, tensorsIn, type Adapted, type ModelWeight, type Point, type StagePoint } from '@espalier/core';
import type { VqaExamples, VqaModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { flopsOf, type Flops } from './flops.ts';
import { countParameters, type ParameterCounts } from './parameters.ts';

/** One hook point. */
export interface PointRow {
  readonly path: string;
  readonly role: string;
  readonly kind: 'linear' | 'norm' | 'embedding' | 'site' | 'stage' | 'source';
  readonly shape: string; // of its parameters; of a stage its gates per sample
  readonly stream: string | undefined;
  readonly block: number | undefined;
}

/** What a model is made of. */
export interface Inspection {
  readonly type: 'inspection';
  readonly backbone: string;
  readonly points: readonly PointRow[];
  readonly plan: string;
  readonly parameters: ParameterCounts;
  readonly batch: { readonly questionLength: number; readonly regions: number };
  readonly flops: Flops; // per sample of that batch
}

export interface InspectOptions {
  readonly questionLength?: number; // word pieces without special tokens; default 8
  readonly regions?: number; // default 64 (an 8 x 8 grid), for 2048-wide features 36
}

/** Lists points, plan, parameters and cost of an adapted model; the cost is counted on a made-up batch of one. */
export async function inspect(adapted: Adapted<unknown>, model: VqaModel<unknown>, { questionLength = 8, regions = model.featureSize === 2048 ? 36 : 64 }: InspectOptions = {}): Promise<Inspection> {
  const inputs = model.inputs(madeUp(model.featureSize, questionLength, regions));
  try {
    const rows = await adapted.account(inputs);
    return {
      type: 'inspection', backbone: model.name, points: pointRows(model),
      plan: adapted.explain(), parameters: countParameters(adapted), batch: { questionLength, regions }, flops: flopsOf([rows]),
    };
  } catch (e) {
    throw new EspalierError(`cannot run ${model.name} on a question of ${questionLength} word pieces and ${regions} regions: ${e instanceof Error ? e.message : String(e)}. Choose fewer by --question-length and --regions.`, { cause: e });
  } finally {
    tf.dispose(tensorsIn(inputs));
  }
}

function pointRows({ scope: { points } }: VqaModel<unknown>): PointRow[] {
  const row = (kind: PointRow['kind'], point: Point, shape: string): PointRow => ({ path: point.path, role: point.role, kind, shape, stream: point.stream, block: point.block });
  const shapeOf = (at: ModelWeight) => ('in' in at ? `[${at.in}, ${at.out}]` : 'rows' in at ? `[${at.rows}, ${at.dim}]` : `[${at.dim}]`);
  const gates = (at: StagePoint) => (at.width === 1 ? '' : `${at.width} gates`);
  return [
    ...points.source.map((p) => row('source', p, '')),
    ...points.stage.map((p) => row('stage', p, gates(p))),
    ...points.linear.map((p) => row('linear', p, shapeOf(p))),
    ...points.norm.map((p) => row('norm', p, shapeOf(p))),
    ...points.embedding.map((p) => row('embedding', p, shapeOf(p))),
    ...points.site.map((p) => row('site', p, '')),
  ];
}

/** One question of made-up words about one image of blank regions. */
const madeUp = (featureSize: number, questionLength: number, regions: number): VqaExamples => ({
  ids: ['made up'],
  questions: new Int32Array(questionLength).fill(1),
  questionLength,
  features: new Float32Array(regions * featureSize),
  boxes: Float32Array.from({ length: 4 * regions }, (_, i) => (i % 4 < 2 ? 0 : 64)),
  regionCounts: Int32Array.of(regions),
  regions,
  featureSize,
  imageSizes: Float32Array.of(64, 64),
  targets: new Float32Array(1),
  answers: 1,
});
