import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { capturedConsole } from './captured-console.ts';
import { Interrupted } from './errors.ts';
import { makeNative, type NativeOptions } from './native/make.ts';
import { runCommand } from './program.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'espalier-native-'))));
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});
const at = (...names: string[]) => join(folder, ...names);

function write(file: string, text = '', mode = 0o644): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

/** A package whose binary is a word that says how it behaves, on the kernels of the backend cpu. */
const PACKAGE = `
  const file = require('@mapbox/node-pre-gyp').find();
  const word = require('fs').readFileSync(file, 'utf8');
  if (word === 'does not load') process.dlopen({ exports: {} }, file);
  if (word === 'crashes') process.kill(process.pid, 'SIGKILL');
  const tf = require(${JSON.stringify(createRequire(import.meta.url).resolve('@tensorflow/tfjs'))});
  tf.copyRegisteredKernels('cpu', 'tensorflow');
  if (word === 'miscalculates') {
    tf.unregisterKernel('BatchMatMul', 'tensorflow');
    tf.registerKernel({ kernelName: 'BatchMatMul', backendName: 'tensorflow', kernelFunc: () => tf.zeros([2, 2]) });
  }
  const cpu = tf.findBackend('cpu').constructor;
  tf.registerBackend('tensorflow', () => Object.assign(new cpu(), { binding: { TF_Version: '2.0 of ' + word }, isUsingGpuDevice: false }), 3);`;

const home = (name = 'tfjs-node') => at('project', 'node_modules', '@tensorflow', name);
const binary = (name?: string) => join(home(name), 'lib', 'napi-v8', 'tfjs_binding.node');

function installPackage(name = 'tfjs-node', scripts: Readonly<Record<string, string>> = { install: 'node scripts/install.js download' }): void {
  write(join(home(name), 'package.json'), JSON.stringify({ name: `@tensorflow/${name}`, version: '4.22.0', main: 'index.js', scripts }));
  write(join(home(name), 'index.js'), PACKAGE);
  for (const file of ['tfjs_binding.cc', 'tfjs_backend.cc', 'utils.h']) write(join(home(name), 'binding', file));
  for (const file of ['package.json', 'index.js']) write(join(home(name), 'node_modules', '@mapbox', 'node-pre-gyp', file), file === 'package.json' ? '{}' : '');
}

function installWheel(directory = at('tf', 'tensorflow')): string {
  for (const file of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', 'include/tensorflow/c/c_api.h', 'include/tensorflow/c/eager/c_api.h']) write(join(directory, file));
  return directory;
}

/** A compiler, as the value of CXX: a program of Node. `args` are its arguments and `out` the file to write. */
const compiler = (code: string) =>
  `${process.execPath} ${write(at('compiler.mjs'), `import { writeFileSync } from 'node:fs'; const args = process.argv.slice(2); const out = args[args.indexOf('-o') + 1]; ${code}`)}`;
const compiles = (word: string) => compiler(`writeFileSync(out, '${word}'); writeFileSync('${at('args')}', args.join('\\n'));`);

/** Makes the binary of a project that lacks nothing but what `changed` takes away. */
function make({ env = {}, ...changed }: Partial<NativeOptions> = {}) {
  write(at('node', 'include', 'node', 'node_api.h'));
  return makeNative({
    project: at('project'), tensorflow: at('tf', 'tensorflow'), vendor: false, execPath: at('node', 'bin', 'node'), platform: 'linux',
    signal: new AbortController().signal, note: () => {}, ...changed, env: { PATH: '', ...(!('CXX' in env) && { CXX: compiles('works') }), ...env },
  });
}

/** Files of the package that no installation has put there. */
const made = (name?: string) => readdirSync(home(name), { encoding: 'utf8', recursive: true }).filter((file) => /^(lib|deps)/.test(file) && /\.(node|so)/.test(file)).sort();
const text = (file: string) => readFileSync(file, 'utf8');

describe('against a wheel', () => {
  beforeEach(() => {
    installPackage();
    installWheel();
  });

  it('compiles the sources that ship with the package, tries the result and puts it in its place', async () => {
    expect(await make()).toEqual({
      type: 'native', package: '@tensorflow/tfjs-node', version: '4.22.0', binary: binary(), tensorflow: '2.0 of works', device: 'CPU',
      built: { wheel: at('tf', 'tensorflow'), headers: at('node', 'include', 'node'), compiler: `${process.execPath} ${at('compiler.mjs')}` },
    });
    expect([made(), text(binary())]).toEqual([[join('lib', 'napi-v8', 'tfjs_binding.node')], 'works']);
    const args = text(at('args')).split('\n');
    const wheel = at('tf', 'tensorflow');
    expect(args).toEqual(expect.arrayContaining(['-std=c++17', '-shared', '-DNAPI_VERSION=8', `-I${join(wheel, 'include')}`, `-I${at('node', 'include', 'node')}`]));
    expect(args.filter((arg) => arg.endsWith('.cc'))).toEqual(['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => join(home(), 'binding', file)));
    expect(args.slice(-6)).toEqual([join(wheel, 'libtensorflow_cc.so.2'), join(wheel, 'libtensorflow_framework.so.2'), '-Xlinker', '-rpath', '-Xlinker', wheel]);
  });

  it.each([
    ['does not load', /tfjs-node in .* does not work: .*tfjs_binding-\d+\.node: file too short|invalid ELF header/],
    ['miscalculates', /computes wrong numbers with TensorFlow 2\.0 of miscalculates, on the backend 'tensorflow': expected a matrix product and its gradients \[\[19,22,43,50\],.*found \[\[0,0,0,0\]/],
    ['crashes', /does not work: its process ended with signal SIGKILL\n.*try another wheel/s],
  ])('keeps the binary that works when the new one %s', async (word, message) => {
    await make();
    const again = make({ env: { CXX: compiles(word) } });
    await expect(again).rejects.toThrow(message);
    await expect(again).rejects.toThrow(`The binary that was there is as it was: ${binary()}`);
    expect([made(), text(binary())]).toEqual([[join('lib', 'napi-v8', 'tfjs_binding.node')], 'works']);
  });

  it('shows the last lines of a compiler that fails, and leaves nothing', async () => {
    const failing = make({ env: { CXX: compiler("writeFileSync(out, 'half'); for (let i = 1; i <= 30; i++) console.error(`error ${i}.`); process.exitCode = 4;") } });
    await expect(failing).rejects.toThrow(/compiler\.mjs did not compile .*tfjs_backend\.cc .* ended with code 4\. Its last lines:\n {2}error 19\.\n.* {2}error 30\.\nExpected a compiler of C\+\+17/s);
    await expect(failing).rejects.not.toThrow(/as it was/);
    expect(made()).toEqual([]);
    await expect(make({ env: { CXX: compiler('') } })).rejects.toThrow(/it wrote no binary/);
  });

  it('names a compiler that is missing', async () => {
    await expect(make({ env: { CXX: '' } })).rejects.toThrow(/no C\+\+ compiler: CXX is not set, and none of c\+\+, g\+\+, clang\+\+ is on PATH\. Install one \(.*apt-get install g\+\+/);
    await expect(make({ env: { CXX: 'nonesuch -v' } })).rejects.toThrow(/CXX is 'nonesuch -v', and 'nonesuch' is no program on PATH/);
    write(at('bin', 'g++'), `#!${process.execPath}\nrequire('fs').writeFileSync(process.argv[process.argv.indexOf('-o') + 1], 'works')\n`, 0o755);
    expect(await make({ env: { CXX: undefined, PATH: at('bin') } })).toMatchObject({ built: { compiler: at('bin', 'g++') } });
  });

  it("names Node's headers that are missing, and takes those of node-api-headers", async () => {
    const elsewhere = { execPath: at('other', 'bin', 'node') };
    await expect(make(elsewhere)).rejects.toThrow(/no headers of Node: expected node_api\.h in .*other\/include\/node .* npm install node-api-headers/);
    const headers = at('project', 'node_modules', 'node-api-headers');
    write(join(headers, 'package.json'), '{}');
    write(join(headers, 'include', 'node_api.h'));
    expect(await make(elsewhere)).toMatchObject({ built: { headers: join(headers, 'include') } });
  });

  it('names what a folder lacks of a wheel', async () => {
    rmSync(at('tf', 'tensorflow', 'libtensorflow_cc.so.2'));
    await expect(make()).rejects.toThrow(`--tensorflow ${at('tf', 'tensorflow')} cannot be built against: expected the folder 'tensorflow' of a wheel, with its libraries and headers, but found no ${at('tf', 'tensorflow', 'libtensorflow_cc.so.2')}.`);
    await expect(make({ tensorflow: 'nowhere' })).rejects.toThrow(/--tensorflow nowhere cannot be built against: .*no .*project\/nowhere\/include\/tensorflow\/c\/c_api\.h.*pip install tensorflow-cpu/s);
  });

  it('asks python3 where its TensorFlow is', async () => {
    const python = (code: string) => write(at('bin', 'python3'), `#!${process.execPath}\n${code}\n`, 0o755);
    const asked = { tensorflow: undefined, env: { PATH: at('bin') } };
    await expect(make(asked)).rejects.toThrow(/--tensorflow is not given and there is no python3 on PATH/);
    python("console.log('')");
    await expect(make(asked)).rejects.toThrow(`--tensorflow is not given and ${at('bin', 'python3')} has no module 'tensorflow'`);
    python("console.error('cannot start'); process.exit(3)");
    await expect(make(asked)).rejects.toThrow(/was asked where its TensorFlow is and ended with code 3:\n {2}cannot start\n/);
    python(`if (process.argv.at(-1).includes('find_spec')) console.log('${at('tf', 'tensorflow', '__init__.py')}')`);
    expect(await make(asked)).toMatchObject({ built: { wheel: at('tf', 'tensorflow') } });
    rmSync(at('tf', 'tensorflow', 'include'), { recursive: true });
    await expect(make(asked)).rejects.toThrow(/the TensorFlow of python3, .*tensorflow, cannot be built against/);
  });

  it('names sources that are missing', async () => {
    rmSync(join(home(), 'binding'), { recursive: true });
    await expect(make()).rejects.toThrow(/tfjs-node 4\.22\.0 has no binding sources: expected \*\.cc in .*binding, .*--vendor/);
  });

  it('is refused where it has not been seen to work', async () => {
    await expect(make({ platform: 'darwin' })).rejects.toThrow(/known to work on Linux only, and this is darwin: .*--vendor/);
  });

  it('stops when asked, and leaves nothing', async () => {
    const stopping = new AbortController();
    const never = compiler("writeFileSync(out, 'half'); setInterval(() => {}, 1000);");
    const signal = stopping.signal;
    const stopped = make({ signal, env: { CXX: never }, note: (said) => void (said.startsWith('compiling') && setImmediate(() => stopping.abort())) });
    await expect(stopped).rejects.toThrow(Interrupted);
    await expect(make({ signal })).rejects.toThrow(Interrupted);
    expect(made()).toEqual([]);
  });
});

describe('the package', () => {
  it('is asked for when the project has none', async () => {
    mkdirSync(at('project'));
    await expect(make()).rejects.toThrow(`neither @tensorflow/tfjs-node-gpu nor @tensorflow/tfjs-node is installed in ${at('project')} or a folder above it. Install it there without its script, then repeat: npm install --ignore-scripts @tensorflow/tfjs-node@4.22.0`);
    installPackage();
    await expect(make({ package: 'tfjs-node-gpu' })).rejects.toThrow(/^@tensorflow\/tfjs-node-gpu is not installed in .*--ignore-scripts @tensorflow\/tfjs-node-gpu@/);
  });

  it('is the one that a training would take, or the one asked for', async () => {
    installWheel();
    installPackage('tfjs-node');
    installPackage('tfjs-node-gpu');
    expect(await make()).toMatchObject({ package: '@tensorflow/tfjs-node-gpu', binary: binary('tfjs-node-gpu') });
    expect(await make({ package: 'tfjs-node' })).toMatchObject({ package: '@tensorflow/tfjs-node', binary: binary('tfjs-node') });
  });

  it('may lack a part', async () => {
    installWheel();
    installPackage();
    rmSync(join(home(), 'node_modules'), { recursive: true });
    await expect(make()).rejects.toThrow(/does not work: Cannot find module '@mapbox\/node-pre-gyp'.*A package that it needs is missing: install it again/s);
    await expect(make({ vendor: true })).rejects.toThrow(/@mapbox\/node-pre-gyp is not there, which .*tfjs-node needs/);
  });
});

describe("the package's own script", () => {
  /** What the install script does, in its folder. */
  const script = (code: string) =>
    write(join(home(), 'scripts', 'install.js'), `const fs = require('fs'); const place = (word) => { fs.mkdirSync('lib/napi-v8', { recursive: true }); fs.writeFileSync('lib/napi-v8/tfjs_binding.node', word); }; ${code}`);

  beforeEach(() => {
    installPackage();
    write(binary(), 'old');
    write(join(home(), 'deps', 'lib', 'libtensorflow.so'), 'old');
  });
  const asBefore = () => {
    expect(made()).toEqual([join('deps', 'lib', 'libtensorflow.so'), join('lib', 'napi-v8', 'tfjs_binding.node')]);
    expect([text(binary()), text(join(home(), 'deps', 'lib', 'libtensorflow.so')), JSON.parse(text(join(home(), 'package.json'))).version]).toEqual(['old', 'old', '4.22.0']);
    expect(readdirSync(home()).filter((name) => name.includes('before'))).toEqual([]);
  };

  it('is run in place with its arguments, node-pre-gyp on its PATH, and what it makes is tried', async () => {
    script("if (process.argv[2] === 'download' && /node-pre-gyp.bin/.test(process.env.PATH) && !fs.existsSync('deps')) place('works'); console.log('downloading');");
    const notes: string[] = [];
    expect(await make({ vendor: true, note: (said) => void notes.push(said) })).toMatchObject({ tensorflow: '2.0 of works', built: undefined });
    expect([made(), text(binary())]).toEqual([[join('lib', 'napi-v8', 'tfjs_binding.node')], 'works']);
    expect(notes).toContain('downloading\n');
    expect(existsSync(join(home(), 'deps'))).toBe(false);
  });

  it.each([
    ['fails', "fs.mkdirSync('deps'); fs.writeFileSync('package.json', '{}'); console.error('ENOTFOUND'); process.exit(1)", /install script of @tensorflow\/tfjs-node \(node scripts\/install\.js download, in .*\) ended with code 1\. Its last lines:\n {2}ENOTFOUND\n.*leave out --vendor/s],
    ['makes nothing', '', /wrote no .*tfjs_binding\.node/],
    ['makes what does not load', "place('does not load')", /does not work: .*The binary that was there is as it was/s],
  ])('is undone when it %s', async (_, code, message) => {
    script(code);
    await expect(make({ vendor: true })).rejects.toThrow(message);
    asBefore();
  });

  it('is named when there is none', async () => {
    installPackage('tfjs-node', {});
    await expect(make({ vendor: true })).rejects.toThrow(/package\.json has no install script: expected 'node SCRIPT'/);
    installPackage('tfjs-node', { install: 'make all' });
    await expect(make({ vendor: true })).rejects.toThrow(/has the install script 'make all': expected 'node SCRIPT'/);
    asBefore();
  });
});

describe('espalier native', () => {
  it('takes the package of the working directory and says what it found', async () => {
    installPackage();
    write(join(home(), 'scripts', 'install.js'), "const fs = require('fs'); fs.mkdirSync('lib/napi-v8', { recursive: true }); fs.writeFileSync('lib/napi-v8/tfjs_binding.node', 'works');");
    vi.spyOn(process, 'cwd').mockReturnValue(at('project'));
    const [table, json] = [capturedConsole(), capturedConsole()];
    expect([await runCommand(['native', '--vendor'], table), table.printed.err]).toEqual([0, expect.stringContaining('running the install script of @tensorflow/tfjs-node 4.22.0')]);
    expect(table.printed.out).toMatch(/TensorFlow {6}2\.0 of works on the CPU\nchecked .*\nbinary .*tfjs_binding\.node\nmade by .*\nuse +--backend tfjs-node,/);
    expect(await runCommand(['native', '--vendor', '--json'], json)).toBe(0);
    expect(json.objects()).toEqual([{ type: 'native', package: '@tensorflow/tfjs-node', version: '4.22.0', binary: binary(), tensorflow: '2.0 of works', device: 'CPU' }]);
  });

  it.each([
    [['--vendor', '--tensorflow', 'x'], 2, /--vendor brings its own TensorFlow: leave out --tensorflow/],
    [['--package', 'tfjs-nod'], 2, /--package is "tfjs-nod": .*Did you mean 'tfjs-node'/],
    [[], 1, /^espalier: neither .* is installed in /],
  ])('%j is refused', async (args, code, message) => {
    vi.spyOn(process, 'cwd').mockReturnValue(folder);
    const to = capturedConsole();
    expect([await runCommand(['native', ...args], to), to.printed.err]).toEqual([code, expect.stringMatching(message)]);
  });
});
