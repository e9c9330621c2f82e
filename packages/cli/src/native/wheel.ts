import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { EspalierError } from '@espalier/core';
import { findProgram, lastLines, run, type RunOptions } from './run.ts';

/** An installed TensorFlow wheel: headers and libraries. */
export interface Wheel {
  readonly directory: string;
  readonly include: string;
  readonly libraries: readonly string[];
}

const LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];
const HEADERS = ['c_api.h', 'eager/c_api.h'].map((name) => `tensorflow/c/${name}`);
const ORIGIN = "import importlib.util as u; s = u.find_spec('tensorflow'); print(s.origin if s and s.origin else '')";
const REMEDY = `Install a wheel and name its folder, such as: python3 -m venv tf && tf/bin/pip install tensorflow-cpu, then --tensorflow tf/lib/python3.X/site-packages/tensorflow; or take the package's own binary: --vendor`;

/**
 * The wheel in a folder, or the one that python3 on PATH would import (it is asked where, and imports nothing).
 * @throws EspalierError naming what is missing.
 */
export async function findWheel(given: string | undefined, options: RunOptions): Promise<Wheel> {
  const directory = given === undefined ? await askPython(options) : resolve(options.cwd, given);
  const who = given === undefined ? `the TensorFlow of python3, ${directory},` : `--tensorflow ${given}`;
  const include = join(directory, 'include');
  const expected = [...LIBRARIES.map((name) => join(directory, name)), ...HEADERS.map((name) => join(include, name))];
  const missing = expected.filter((file) => !existsSync(file));
  if (missing.length)
    throw new EspalierError(`${who} cannot be built against: expected the folder 'tensorflow' of a wheel, with its libraries and headers, but found no ${missing.join(', no ')}.\n${REMEDY}`);
  return { directory, include, libraries: expected.slice(0, LIBRARIES.length) };
}

async function askPython(options: RunOptions): Promise<string> {
  const python = findProgram('python3', options.env);
  if (python === undefined) throw new EspalierError(`no TensorFlow to build against: --tensorflow is not given and there is no python3 on PATH to ask.\n${REMEDY}`);
  const { ok, how, out, text } = await run(python, ['-c', ORIGIN], options);
  if (!ok) throw new EspalierError(`${python} was asked where its TensorFlow is and ended with ${how}:\n${lastLines(text)}\n${REMEDY}`);
  if (out.trim() === '') throw new EspalierError(`no TensorFlow to build against: --tensorflow is not given and ${python} has no module 'tensorflow'.\n${REMEDY}`);
  return dirname(out.trim());
}
