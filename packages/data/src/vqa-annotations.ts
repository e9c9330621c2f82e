import { z } from 'zod';
import { answerTypeOf, type AnswerType } from './dataset.ts';
import { issuesOf } from './errors.ts';
import { findings, type Finding } from './findings.ts';
import { readJson } from './json-file.ts';
import { answerVocabulary, normaliseAnswer } from './soft-score.ts';
import type { AnnotatedQuestion } from './vqa-accuracy.ts';

/** An id of the official files, and of those made from them. */
export const Id = z.union([z.int(), z.string().min(1)]);
const Annotation = z.object({
  question_id: Id,
  answers: z.array(z.object({ answer: z.string() })).min(1),
  multiple_choice_answer: z.string().optional(),
  answer_type: z.enum(['yes/no', 'number', 'other']).optional(),
  question_type: z.string().optional(),
});

export interface VqaAnnotation extends AnnotatedQuestion {
  readonly answerType: AnswerType;
  readonly majority: string; // normalised
}

/**
 * The annotations of an official `v2_mscoco_*_annotations.json`, answers as the annotators typed them: what `vqaAccuracy`
 * scores against. @throws DataError naming the file; single bad annotations are skipped and reported.
 */
export async function readVqaAnnotations(file: string): Promise<{ readonly questions: readonly VqaAnnotation[]; readonly report: readonly Finding[] }> {
  const { annotations } = await readJson(file, z.object({ annotations: z.array(z.unknown()) }), 'It is an annotations file of VQA v2.');
  const found = findings(file);
  const seen = new Set<string>();
  const questions: VqaAnnotation[] = [];
  annotations.forEach((raw, n) => {
    const parsed = Annotation.safeParse(raw);
    if (!parsed.success) {
      found.skip('not an annotation', `annotation ${n}: ${issuesOf(parsed.error)}`);
      return;
    }
    const { question_id, multiple_choice_answer, answer_type, question_type } = parsed.data;
    const answers = parsed.data.answers.map(({ answer }) => answer);
    const majority = multiple_choice_answer === undefined ? answerVocabulary(answers.map(normaliseAnswer), 1)[0]! : normaliseAnswer(multiple_choice_answer);
    const answerType = answer_type ?? answerTypeOf(majority);
    if (seen.has(String(question_id))) found.skip('annotated twice', `annotation ${n}: question ${question_id}`);
    else questions.push({ questionId: question_id, answers, majority, answerType, questionType: question_type ?? answerType });
    seen.add(String(question_id));
  });
  return { questions, report: found.close(annotations.length) };
}
