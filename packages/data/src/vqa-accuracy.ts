import { DataError } from './errors.ts';
import { processedAnswer, trimmedAnswer } from './vqa-answer.ts';

/** An entry of a results file, as the evaluation server takes it. */
export interface VqaPrediction {
  readonly question_id: number | string;
  readonly answer: string;
}

/** A question with the answers its annotators gave. */
export interface AnnotatedQuestion {
  readonly questionId: number | string;
  readonly answers: readonly string[]; // one per annotator, ten in VQA v2, as they were typed
  readonly answerType: string;
  readonly questionType: string;
}

/** Percentages, rounded to two decimals. */
export interface VqaAccuracy {
  readonly overall: number;
  readonly perAnswerType: Readonly<Record<string, number>>;
  readonly perQuestionType: Readonly<Record<string, number>>;
  readonly perQuestion: ReadonlyMap<number | string, number>;
}

/**
 * The official accuracy of VQA: mean over questions of the mean over annotators i of min(1, matches among the others / 3),
 * in percent. Answers and prediction are trimmed; they are processed (`processedAnswer`) only if the trimmed answers are not
 * all the same. arXiv 1505.00468; GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py at revision a013f004, the head since
 * 2021-03-11. Earlier revisions always processed the prediction and only the punctuation of the annotators' answers, which
 * can move the second decimal. Halves are rounded up, as in the Python 2 of that file.
 * @throws DataError when a question has no prediction or two, or a prediction no question.
 */
export function vqaAccuracy(predictions: readonly VqaPrediction[], questions: readonly AnnotatedQuestion[]): VqaAccuracy {
  if (!questions.length) throw new DataError('VQA accuracy: there are no questions');
  const given = new Map<number | string, string>();
  for (const { question_id, answer } of predictions) {
    if (given.has(question_id)) throw new DataError(`VQA accuracy: question ${question_id} has two predictions. Give one for each question.`);
    given.set(question_id, answer);
  }
  const processed = memoised(processedAnswer);
  const all: number[] = [];
  const byAnswer = new Map<string, number[]>();
  const byQuestion = new Map<string, number[]>();
  const perQuestion = new Map<number | string, number>();
  for (const { questionId, answers, answerType, questionType } of questions) {
    const prediction = given.get(questionId);
    if (prediction === undefined) throw new DataError(`VQA accuracy: question ${questionId} has no prediction; there are ${given.size} for ${questions.length} questions`);
    if (!answers.length) throw new DataError(`VQA accuracy: question ${questionId} has no answers. Test splits are scored by the evaluation server.`);
    if (perQuestion.has(questionId)) throw new DataError(`VQA accuracy: question ${questionId} is annotated twice`);
    const score = scoreOf(prediction, answers, processed);
    all.push(score);
    push(byAnswer, answerType, score);
    push(byQuestion, questionType, score);
    perQuestion.set(questionId, rounded(100 * score));
  }
  if (given.size > questions.length) {
    const stray = [...given.keys()].find((id) => !perQuestion.has(id));
    throw new DataError(`VQA accuracy: no question ${stray} among ${questions.length}; are predictions and annotations of the same split?`);
  }
  return { overall: percent(all), perAnswerType: percents(byAnswer), perQuestionType: percents(byQuestion), perQuestion };
}

/** The score in [0, 1] of one prediction against the answers of its annotators. */
export function vqaScore(prediction: string, answers: readonly string[]): number {
  return scoreOf(prediction, answers, processedAnswer);
}

function scoreOf(prediction: string, answers: readonly string[], processed: (answer: string) => string): number {
  const trimmed = answers.map(trimmedAnswer);
  const agree = new Set(trimmed).size === 1;
  const compared = agree ? trimmed : trimmed.map(processed);
  const mine = agree ? trimmedAnswer(prediction) : processed(trimmedAnswer(prediction));
  const matches = compared.filter((answer) => answer === mine).length;
  return sum(compared.map((answer) => Math.min(1, (matches - (answer === mine ? 1 : 0)) / 3))) / answers.length;
}

function memoised(f: (text: string) => string): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    const value = known.get(text) ?? f(text);
    known.set(text, value);
    return value;
  };
}

function push(lists: Map<string, number[]>, key: string, value: number): void {
  const list = lists.get(key) ?? [];
  list.push(value);
  lists.set(key, list);
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const rounded = (value: number) => Number(value.toFixed(2)); // of two equally near, toFixed takes the larger
const percent = (scores: readonly number[]) => rounded((100 * sum(scores)) / scores.length);
const percents = (lists: ReadonlyMap<string, readonly number[]>) => Object.fromEntries([...lists].map(([key, scores]) => [key, percent(scores)]));
