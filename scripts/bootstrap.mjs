#!/usr/bin/env node
// node scripts/bootstrap.mjs [--build] <pnpm script> [arguments]
// Makes a fresh checkout runnable with Node and npm alone, then runs the script: (1) the pnpm pinned in package.json, (2) the packages of
// pnpm-lock.yaml, (3) with --build, the compiled workspace. Messages go to stderr; stdout belongs to the script.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const windows = process.platform === 'win32';
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const version = manifest.packageManager.split('@')[1].split('+')[0];

/** @param {string} line */
const say = (line) => process.stderr.write(`espalier: ${line}\n`);
/** @param {string} line @param {number | null} [status] @returns {never} */
const stop = (line, status) => {
  say(line);
  process.exit(status || 1);
};

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [needMajor, needMinor] = manifest.engines.node.match(/\d+/g).map(Number);
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    stop(`Node ${manifest.engines.node} is needed, this is ${process.versions.node}. Install a newer one from https://nodejs.org`);
  }
}

/**
 * Runs a command in the repository with its output on stderr.
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnSyncOptions} [options]
 */
const stage = (command, args, options) => spawnSync(command, args, { cwd: root, stdio: ['inherit', 2, 2], shell: windows, ...options });

/** The environment in which `pnpm` is the pinned version. */
function environmentWithPnpm() {
  // asked outside the repository, where no pin can make another pnpm replace itself
  const found = spawnSync('pnpm', ['--version'], { cwd: path.parse(root).root, encoding: 'utf8', shell: windows });
  if (found.stdout?.trim() === version) return process.env;
  const home = path.join(root, '.cache', `pnpm-${version}`);
  if (!existsSync(home)) {
    say(`fetching pnpm ${version} into .cache/, because this workspace is installed with it (once)`);
    const draft = `${home}.${process.pid}`;
    const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
    const fetched = stage('npm', ['install', '--prefix', windows ? `"${draft}"` : draft, ...flags, `pnpm@${version}`]);
    if (fetched.status !== 0) {
      rmSync(draft, { recursive: true, force: true });
      stop(
        `npm could not fetch pnpm ${version}: check the network and npm's registry and proxy settings, then run the command again`,
        fetched.status,
      );
    }
    try {
      renameSync(draft, home);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      if (!existsSync(home)) throw error; // otherwise another run has just put it there
    }
  }
  const key = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH';
  return { ...process.env, [key]: path.join(home, 'node_modules', '.bin') + path.delimiter + process.env[key] };
}

/** True when the packages on disk were installed from this very lockfile. */
function isInstalled() {
  const installed = path.join(root, 'node_modules', '.pnpm', 'lock.yaml');
  return existsSync(installed) && readFileSync(installed).equals(readFileSync(path.join(root, 'pnpm-lock.yaml')));
}

/** @param {NodeJS.ProcessEnv} env */
function install(env) {
  const args = ['install', '--frozen-lockfile', '--prefer-offline'];
  // pnpm looks again in a tenth of a second: links someone deleted, manifests that left the lockfile behind
  if (isInstalled() && stage('pnpm', [...args, '--silent'], { env, stdio: 'ignore' }).status === 0) return;
  say('installing packages, because node_modules does not match pnpm-lock.yaml');
  const installed = stage('pnpm', args, { env });
  if (installed.status !== 0) stop('pnpm install failed, see above', installed.status);
}

/** @param {NodeJS.ProcessEnv} env */
function build(env) {
  const built = existsSync(path.join(root, 'packages', 'core', 'dist'));
  say(
    built
      ? 'compiling what changed since the last run'
      : 'compiling all packages, because none is compiled yet (later runs compile what changed)',
  );
  const compiled = stage('pnpm', ['--silent', 'run', 'build'], { env });
  if (compiled.status !== 0) stop('the TypeScript compiler found the errors above', compiled.status);
}

/**
 * Runs the script and ends as it ended. Ctrl-C reaches it from the terminal; this process only waits, so that it can save and exit.
 * @param {string} script @param {string[]} args @param {NodeJS.ProcessEnv} env
 */
function run(script, args, env) {
  const child = spawn('pnpm', ['--silent', 'run', script, ...args], { cwd: root, stdio: 'inherit', shell: windows, env });
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  process.on('SIGHUP', () => child.kill('SIGHUP'));
  child.on('error', (error) => stop(`pnpm did not start: ${error.message}`));
  child.on('exit', (status, signal) => process.exit(status ?? (signal ? 128 + constants.signals[signal] : 1)));
}

const flags = process.argv[2] === '--build' ? ['--build'] : [];
const [script, ...args] = process.argv.slice(2 + flags.length);
if (!script) stop('usage: node scripts/bootstrap.mjs [--build] <pnpm script> [arguments]', 2);
requireNode();
const env = environmentWithPnpm();
install(env);
if (flags.length > 0) build(env);
run(script, args, env);
