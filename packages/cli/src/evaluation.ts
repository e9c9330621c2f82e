import { limit, type VqaRecord } from '@espalier/data';
import { demandOf } from './backbone-model.ts';
import { absoluteSpec, openTaskData } from './compose.ts';
import { Interrupted, UsageError } from './errors.ts';
import { flopsOn, type Flops } from './flops.ts';
import type { OpenedModel } from './model-directory.ts';
import { measureRecords, type MeasureReport } from './pictures/measures.ts';
import { scoreRecords, type Prediction, type Score } from './scoring.ts';

export interface EvaluateOptions {
  readonly data?: string | undefined; // default that of the training
  readonly split?: 'train' | 'validation' | 'test' | undefined; // default test where it has answers, else validation
  readonly limitEval?: number | undefined; // default the training's
  readonly signal?: AbortSignal | undefined;
  readonly onBatch?: (done: number, of: number) => void;
  readonly onPrediction?: (prediction: Prediction) => void;
  readonly measured?: boolean | undefined; // also what the plugins' measures say; default false
}

/** What an evaluation found. */
export interface Evaluation extends Score {
  readonly type: 'evaluation';
  readonly split: string;
  readonly data: string;
  readonly skipped: number;
  readonly flops: Flops; // of the first questions
  readonly measures?: readonly MeasureReport[]; // where they were asked for
}

/** Scores a trained model. Without options these are the final numbers of its training, bit for bit on the same backend. */
export async function evaluate(opened: OpenedModel, { data: given, split, limitEval, measured = false, ...options }: EvaluateOptions = {}): Promise<Evaluation> {
  const { task, model, kind, adapted, tokens } = opened;
  const spec = given === undefined ? task.data : absoluteSpec(given);
  const config = Object(model.config);
  const data = await openTaskData(spec, task.features, task.dataSeed, demandOf({ kind, config, by: opened.directory }));
  requireSameAnswers(task.answers, data.answers, spec);
  const labelled = (records: readonly VqaRecord[] | undefined) => records?.filter((r) => r.answerType !== 'unlabelled');
  const chosen = split ?? (labelled(data.splits.test)?.length ? 'test' : 'validation');
  const records = labelled(data.splits[chosen]);
  if (!records?.length) throw new UsageError(`${spec} has no answered questions in the split '${chosen}'. Choose another --split.`);
  const most = limitEval ?? (chosen === 'train' ? undefined : task.limitEval);
  const asked = most === undefined ? records : limit(records, most, task.seed);
  const scored = { adapted, model, data, tokens, batchSize: task.batchSize };
  const found = await scoreRecords(scored, asked, options);
  const measures = measured ? await measureRecords(scored, asked, options) : undefined;
  if (!found || (measured && !measures)) throw new Interrupted('stopped before all questions were scored');
  return { type: 'evaluation', split: chosen, data: spec, ...found, skipped: data.report().reduce((sum, f) => sum + (f.kept ? 0 : f.count), 0), flops: await flopsOn(scored, asked), ...(measures && { measures }) };
}

/** @throws UsageError naming the first difference: logits are in the order of the training's answers. */
function requireSameAnswers(trained: readonly string[], found: readonly string[], spec: string): void {
  const at = trained.findIndex((answer, i) => answer !== found[i]);
  if (at < 0 && trained.length === found.length) return;
  const place = at < 0 ? trained.length : at;
  throw new UsageError(`${spec} has other answers than the model was trained on: number ${place} is ${JSON.stringify(found[place] ?? null)}, expected ${JSON.stringify(trained[place] ?? null)} (${found.length} and ${trained.length} answers). Evaluate on data with the same answer list.`);
}
