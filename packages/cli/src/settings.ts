import { SHARDING } from '@espalier/data';
import { z } from 'zod';
import { OPTIMISERS } from './optimisers.ts';
import { PluginEntry } from './plugin-spec.ts';

/** The names of `--schedule`. */
export const SCHEDULES = ['constant', 'linear', 'cosine'] as const;
/** A largest norm, or none. */
export const CLIP = z.union([z.number().positive(), z.literal('none')], "expected a positive number or 'none'");

const count = z.int().positive();
const text = z.string().min(1);

/** Describes an option for the help text; `value` is what stands for its argument there. */
const option = <S extends z.ZodType>(schema: S, description: string, value?: string): S =>
  schema.meta({ description, ...(value !== undefined && { value }) });

const config = option(text.optional(), 'JSON file with any of these options, named as here in camelCase; flags win over it', 'FILE');
const json = option(z.boolean().default(false), 'print one JSON object per line, the last is the result');
const backend = option(text.default('auto'), 'auto, tfjs-node-gpu, tfjs-node, onnx, wasm or cpu', 'NAME');
const threads = option(count.or(z.literal('auto')).default('auto'), 'threads of the onnx backend', 'N');
const backbone = option(z.enum(['vl-bert', 'lxmert', 'visual-bert']).optional(), "vl-bert, lxmert or visual-bert; default the weights' own, else vl-bert", 'NAME');
const size = option(z.enum(['tiny', 'small', 'base']).optional(), "tiny, small or base; default the weights' own, else small", 'NAME');
const weights = option(text.optional(), 'directory of config.json, model.safetensors (or pytorch_model.bin) and vocab.txt, a file of weights, OWNER/NAME[@REVISION] of the Hugging Face Hub, a shipped one such as lxmert-small, or none to draw new ones; default the shipped ones where there are any', 'DIR');
const vocabulary = option(text.optional(), 'tokenizer.json, or vocab.txt with its tokenizer_config.json beside it, where none lies beside the weights', 'FILE');
const offline = option(z.boolean().default(false), 'take weights of the Hugging Face Hub from the cache alone (HF_HUB_CACHE says where it is), never from the network');
const head = option(z.enum(['stored', 'stored-or-drawn', 'drawn']).optional(), "the weights' answer head: stored, drawn anew, or stored-or-drawn where they may lack it (the default)", 'WHICH');
const plugin = option(z.array(PluginEntry).default([]), `plugin to put on the backbone, 'NAME:{json}' or 'NAME#INSTANCE:{json}'; may be repeated`, 'SPEC');
const features = option(text.optional(), "what makes regions of images: grid, components, either with ':{json}', or file for extracted ones", 'SPEC');
const limitEval = option(count.optional(), 'score a seeded sample of N questions of each split', 'N');
const model = option(text, 'directory of a trained model (the --out of train)', 'DIR');
const moved = option(text.optional(), "the backbone's weights, where they have moved since training; none for a model that was trained without", 'DIR');
const seed = option(z.int().default(0), 'of new weights, order, dropout and samples', 'N');

/** Options of `espalier train`. */
export const TrainSettings = z.strictObject({
  config, backbone, size, weights, vocabulary, head, offline, plugin,
  data: option(text.default('shapes'), 'shapes[:IMAGES or {json}], easy-vqa:DIR, vqa2:DIR or gqa:DIR', 'SPEC'),
  features, seed,
  dataSeed: option(z.int().default(0), 'of generated data and of the validation split', 'N'),
  start: option(text.optional(), 'model directory on the same weights: plugins of the same name begin with its variables, the head anew', 'DIR'),
  limitTrain: option(count.optional(), 'train on a seeded sample of N questions', 'N'),
  limitEval,
  shard: option(z.string().regex(/^[1-9]\d*\/[1-9]\d*$/, 'expected INDEX/COUNT such as 3/10, counted from 1').optional(), 'train on one of COUNT disjoint parts of the training split', 'I/COUNT'),
  shardBy: option(z.enum(SHARDING).default('random'), 'what parts are made by: random, or class for groups of answers', 'WHAT'),
  shardSeed: option(z.int().default(0), 'of random parts', 'N'),
  loss: option(text.default('bce'), `what is minimised: bce (cross-entropy of each answer), ce (of a softmax over them), kl, or square, also as 'square:{"kappa":15,"alpha":1}'`, 'SPEC'),
  privacy: option(z.union([text, z.record(z.string(), z.unknown())]).optional(), `train with differential privacy, by a plugin that can, such as tangent: '{"epsilon":3,"delta":1e-5,"clip":10}'`, 'JSON'),
  epochs: option(count.default(5), 'passes over the training split', 'N'),
  batchSize: option(count.default(32), 'questions per batch', 'N'),
  lr: option(z.number().positive().default(1e-3), 'peak learning rate', 'RATE'),
  schedule: option(z.enum(SCHEDULES).default('linear'), 'course of the rate after the warm-up: constant, linear or cosine', 'SHAPE'),
  warmup: option(z.number().nonnegative().default(0.1), 'warm-up: below 1 a fraction of the run, else steps', 'N'),
  optimiser: option(z.enum(OPTIMISERS).default('adamw'), 'adamw; bert-adam as LXMERT and VisualBERT, vl-bert-adamw as VL-BERT were fine-tuned, with their first and last rates; adam or sgd', 'NAME'),
  weightDecay: option(z.number().nonnegative().optional(), 'of adamw and bert-adam (default 0.01), vl-bert-adamw (1e-4) and sgd (0); biases and norms are exempt, but for bert-adam and vl-bert-adamw', 'X'),
  clip: option(CLIP.default(1), 'largest global gradient norm, or none', 'NORM'),
  group: option(
    z.array(z.union([z.string().min(1), z.looseObject({ name: z.string().min(1) })])).default([]),
    `how the variables of one group are moved, 'NAME:{"optimiser":..,"lr":..,"weightDecay":..,"schedule":..,"warmup":..,"clip":..}', where not as all others or as their plugin says; may be repeated`, 'SPEC',
  ),
  flip: option(z.boolean().default(false), 'mirror half of the samples of an epoch: their boxes, and left and right in question and answers'),
  accumulate: option(count.default(1), 'batches per update', 'N'),
  cache: option(text.optional(), "keep what stays frozen below the first place that learns from epoch to epoch: 'memory', or a folder", 'WHERE'),
  cacheSize: option(count.optional(), 'of --cache in MiB; default 1024 in memory, 16384 in a folder', 'N'),
  recompute: option(z.boolean().default(false), "compute a block's activations again for its gradient: slower, less memory"),
  patience: option(count.optional(), 'stop after N epochs without a better validation accuracy', 'N'),
  out: option(text.optional(), 'directory of the run; default out/train-TIME', 'DIR'),
  checkpointEvery: option(count.default(500), 'steps between checkpoints', 'N'),
  resume: option(z.boolean().default(false), 'go on with the run in --out'),
  backend, threads, json,
  verbose: option(z.boolean().default(false), 'with --json, print every step instead of one a second'),
});

/** Options of `espalier eval`. */
export const EvalSettings = z.strictObject({
  config, model,
  data: option(text.optional(), 'another data set with the same answers, or the same where it has moved; default that of the training', 'SPEC'),
  weights: moved, offline,
  split: option(z.enum(['train', 'validation', 'test']).optional(), 'train, validation or test; default test where it has answers', 'NAME'),
  limitEval: option(count.optional(), "score a seeded sample of N questions; default the training's", 'N'),
  predictions: option(text.optional(), 'write one JSON object per question to FILE', 'FILE'),
  report: option(text.optional(), "write report.json and the plugins' pictures (what each sample used, by layer, component and question type) to DIR; runs the questions once more", 'DIR'),
  backend, threads, json,
});

/** Options of `espalier predict`. */
export const PredictSettings = z.strictObject({
  config, model,
  image: option(text, 'PNG or JPEG', 'FILE'),
  question: option(text, 'what to ask about it', 'TEXT'),
  top: option(count.default(5), 'answers to show', 'N'),
  weights: moved, offline, backend, threads, json,
});

/** Options of `espalier explain`. */
export const ExplainSettings = z.strictObject({
  config, model,
  image: option(text, 'PNG or JPEG', 'FILE'),
  question: option(text, 'what is asked about it', 'TEXT'),
  out: option(text, 'directory for pictures and numbers', 'DIR'),
  weights: moved, offline, backend, threads, json,
});

/** Options of `espalier merge`. */
export const MergeSettings = z.strictObject({
  config, model,
  to: option(text, 'file ending in .safetensors, or in .bin, .pth, .pt or .model for a zip of torch.save; else a directory, with configuration, answers and vocabulary', 'PATH'),
  weights: moved, offline, backend, threads, json,
});

/** Options of `espalier inspect`. */
export const InspectSettings = z.strictObject({
  config, backbone, size, weights, vocabulary, head, offline, plugin,
  model: option(text.optional(), 'directory of a trained model, instead of a backbone and plugins', 'DIR'),
  answers: option(count.optional(), "answers of the task head; default the configuration's", 'N'),
  regions: option(count.optional(), 'regions per image in the counted batch; default 64, for 2048-wide features 36', 'N'),
  questionLength: option(count.default(8), 'word pieces per question in the counted batch', 'N'),
  seed, backend, threads, json,
});

/** Options of `espalier forward`. */
export const ForwardSettings = z.strictObject({
  config,
  weights: option(text, 'directory of config.json and model.safetensors, or as with train', 'DIR'), offline,
  inputs: option(text, "tensors under the reference's argument names (input_ids, visual_feats, ...; boxes, im_info, question)", 'FILE'),
  out: option(text, "file for 'logits' (where the weights have an answer head) and one tensor per site, by path", 'FILE'),
  expected: option(text.optional(), "a reference's tensors by the same names, one at least: prints the largest differences, and fails above --tolerance", 'FILE'),
  tolerance: option(z.number().positive().default(1e-4), 'largest difference from --expected that is accepted', 'X'),
  backbone, size, backend, threads, json,
});

/** Options of `espalier train-shards`: those of a training, and how many there are. */
export const ShardsSettings = TrainSettings.omit({ shard: true, resume: true, out: true, verbose: true }).extend({
  shards: option(count, 'parts of the training split, one training each', 'K'),
  workers: option(count.default(1), 'trainings at a time', 'N'),
  queue: option(z.string().regex(/^rediss?:\/\//, 'expected redis://HOST:PORT').optional(), 'keep the trainings in Redis, by BullMQ: the same command on several machines that share --out works them off together', 'URL'),
  attempts: option(count.default(3), 'how often a training is begun whose process is lost', 'N'),
  out: option(text, 'directory for a directory of each; those that are finished are kept', 'DIR'),
});

/** What every command on saved models takes. */
export const ModelsSettings = z.strictObject({ config, weights: moved, offline, backend, threads, json });

/** A training as a program asks for it; what is left out has the default of the command line. */
export type TrainOptions = Omit<z.input<typeof TrainSettings>, 'config' | 'json' | 'verbose'>;

/** Options of `espalier convert`. */
export const ConvertSettings = z.strictObject({
  config,
  from: option(text, 'directory or file of weights of any format that is read, OWNER/NAME[@REVISION] of the Hugging Face Hub, or a shipped one', 'PATH'),
  to: option(text, 'file ending in .safetensors, or in .bin, .pth, .pt or .model for a zip of torch.save; else a directory, with configuration and vocabulary', 'PATH'),
  names: option(z.enum(['stored', 'canonical', 'original']).default('stored'), "tensor names: stored as they are, canonical (Hugging Face's), or original (the authors')", 'WHICH'),
  dtype: option(z.enum(['F32', 'F16', 'BF16']).optional(), 'type of floating tensors: F32, F16 or BF16; default as stored', 'TYPE'),
  backbone, offline,
  answersFrom: option(text.optional(), "list of the checkpoint's answers (JSON or a line each), or LXMERT's all_ans.json: with --answers-to, rows of the answer layer are put in the other order", 'FILE'),
  answersTo: option(text.optional(), 'list of the answers in the order that is wanted', 'FILE'),
  json,
});
