import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

const Line = z.strictObject({
  row: z.string(),
  setting: z.string(),
  backbone: z.string(),
  method: z.string(),
  seed: z.int(),
  command: z.string(), // that repeats it
  summary: z.looseObject({ accuracy: z.number(), trainableParameters: z.number(), totalParameters: z.number(), seconds: z.number(), flopsPerSample: z.number(), measured: z.record(z.string(), z.number()).optional() }),
});
/** One finished run. */
export type Line = z.infer<typeof Line>;

/** The finished runs of a results file; an absent file has none. @throws naming file and line for what is not a result. */
export async function readLines(file: string): Promise<Line[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (e) {
    if (e instanceof Error && 'code' in e && e.code === 'ENOENT') return [];
    throw e;
  }
  return text
    .split('\n')
    .filter(Boolean)
    .map((line, i) => {
      const parsed = Line.safeParse(JSON.parse(line));
      if (!parsed.success) throw new Error(`${file}, line ${i + 1}: ${parsed.error.issues.map((x) => `${x.path.join('.')}: ${x.message}`).join('; ')}`);
      return parsed.data;
    });
}

/** Adds a run, replacing an earlier one of the same row; the file is whole at every moment. */
export async function addLine(file: string, line: Line): Promise<void> {
  const lines = [...(await readLines(file)).filter((l) => l.row !== line.row), line];
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.tmp`, lines.map((l) => `${JSON.stringify(l)}\n`).join(''));
  await rename(`${file}.tmp`, file);
}
