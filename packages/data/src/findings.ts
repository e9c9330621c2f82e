import { DataError } from './errors.ts';

/** Records of one file with one defect. */
export interface Finding {
  readonly file: string;
  readonly what: string; // 'image missing'
  readonly kept: boolean; // false: the records were skipped
  readonly count: number;
  readonly of: number; // records in the file
  readonly examples: readonly string[]; // at most 5
}

export interface Findings {
  skip(what: string, example: string): void;
  /** Counts a record that is used all the same. */
  note(what: string, example: string): void;
  /** What was found among `of` records. @throws DataError when there were none, or more than half were skipped. */
  close(of: number): readonly Finding[];
}

const EXAMPLES = 5;

/** Counts the defects of one file's records. */
export function findings(file: string): Findings {
  const found = new Map<string, { what: string; kept: boolean; count: number; examples: string[] }>();
  const count = (what: string, kept: boolean, example: string) => {
    const entry = found.get(what) ?? { what, kept, count: 0, examples: [] };
    entry.count++;
    if (entry.examples.length < EXAMPLES) entry.examples.push(example);
    found.set(what, entry);
  };
  return {
    skip: (what, example) => count(what, false, example),
    note: (what, example) => count(what, true, example),
    close: (of) => {
      if (of === 0) throw new DataError(`${file}: the split is empty. It needs at least one question.`);
      const list = [...found.values()].map((entry) => ({ file, of, ...entry }));
      const bad = list.filter(({ kept }) => !kept);
      const skipped = bad.reduce((sum, entry) => sum + entry.count, 0);
      if (skipped * 2 > of)
        throw new DataError(`${file}: ${skipped} of ${of} records are bad, so this is likely not the file it should be.\n${bad.map(describeFinding).join('\n')}`);
      return list;
    },
  };
}

/** One line: how many, of what, with examples. */
export function describeFinding({ file, what, kept, count, of, examples }: Finding): string {
  const more = count > examples.length ? `; and ${count - examples.length} more` : '';
  return `${file}: ${count} of ${of} records ${kept ? 'noted' : 'skipped'} (${what}): ${examples.join('; ')}${more}`;
}
