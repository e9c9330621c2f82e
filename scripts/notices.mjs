// node scripts/notices.mjs [--check]
// Writes THIRD_PARTY_NOTICES.md from the package.json and licence files of every runtime dependency that is installed;
// with --check it only compares, and exits with 1 when the committed file is out of date.
import { existsSync, readFileSync, readdirSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const output = path.join(root, 'THIRD_PARTY_NOTICES.md');

/**
 * @typedef {{ name: string, version: string, private?: boolean, license?: string | { type: string }, dependencies?: Record<string, string>,
 *   peerDependencies?: Record<string, string>, peerDependenciesMeta?: Record<string, { optional?: boolean }> }} Manifest
 */

/** @param {string} folder @returns {Manifest} */
const manifestOf = (folder) => JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));

/** The folder in which Node finds package `name` from `folder`. @param {string} name @param {string} folder @returns {string} */
function locate(name, folder) {
  for (let at = folder; ; at = path.dirname(at)) {
    const candidate = path.join(at, 'node_modules', name);
    if (existsSync(path.join(candidate, 'package.json'))) return realpathSync(candidate);
    if (at === path.dirname(at)) throw new Error(`${name}, which ${folder} needs, is not installed: run npm test once`);
  }
}

/** Adds what `folder` needs at run time to `found`, folder by folder. @param {string} folder @param {Set<string>} found */
function collect(folder, found) {
  const { dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = manifestOf(folder);
  const peers = Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional);
  for (const name of [...Object.keys(dependencies), ...peers]) {
    if (name.startsWith('@espalier/')) continue;
    const next = locate(name, folder);
    if (found.has(next)) continue;
    found.add(next);
    collect(next, found);
  }
}

/** The copyright lines of a package's licence files. @param {string} folder */
function copyrights(folder) {
  const files = readdirSync(folder)
    .filter((name) => /^(licen[cs]e|copying|notice)/i.test(name))
    .sort();
  const lines = files
    .flatMap((name) => readFileSync(path.join(folder, name), 'utf8').split('\n'))
    .map((line) => line.replace(/^[\s*#/]+|[\s*]+$/g, ''));
  return [...new Set(lines.filter((line) => /^(copyright|©)\b.*(\d{4}|\(c\)|©)/i.test(line) && !/[[{]yyyy/.test(line)))];
}

/** One table row. @param {string} folder */
function row(folder) {
  const { name, version, license } = manifestOf(folder);
  const stated = typeof license === 'object' ? license.type : license;
  if (!stated) throw new Error(`${name}@${version} states no licence in ${path.relative(root, folder)}/package.json`);
  const cell = copyrights(folder).join('; ').replaceAll('|', '\\|');
  return `| ${name} | ${version} | ${stated} | ${cell} |`;
}

/** @param {readonly string[]} folders @param {Set<string>} known rows of an earlier table, left out of this one and added to it */
function table(folders, known) {
  /** @type {Set<string>} */
  const found = new Set();
  for (const folder of folders) collect(folder, found);
  const rows = [...new Set([...found].map(row))].filter((one) => !known.has(one)).sort();
  for (const one of rows) known.add(one);
  return ['| package | version | licence | copyright |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function notices() {
  /** @type {Set<string>} */
  const known = new Set();
  const packages = readdirSync(path.join(root, 'packages'))
    .map((name) => path.join(root, 'packages', name))
    .filter((folder) => existsSync(path.join(folder, 'package.json')));
  return `# Third-party notices

Espalier contains none of the software below; npm installs it beside Espalier, each package under its own licence, with its
licence text in its own folder. Written by \`node scripts/notices.mjs\` from the installed packages.

## Needed by the published packages

${table(packages, known)}

## Needed besides by examples and benches

${table(
  ['examples', 'bench'].map((name) => path.join(root, name)),
  known,
)}
`;
}

const text = notices();
if (process.argv.includes('--check')) {
  if (!existsSync(output) || readFileSync(output, 'utf8') !== text) {
    console.error('THIRD_PARTY_NOTICES.md does not match the installed packages: run node scripts/notices.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(`${output}.new`, text);
  renameSync(`${output}.new`, output);
}
