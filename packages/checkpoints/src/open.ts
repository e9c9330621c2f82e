import { CheckpointError } from '@espalier/core';
import { readBytes, type ByteSource } from './byte-source.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openSafetensors } from './safetensors.ts';
import { openTorchLegacy } from './torch-legacy.ts';
import { openTorchZip } from './torch-zip.ts';

/**
 * Opens a checkpoint file by what it holds, whatever its name: safetensors, a zip of torch.save or its older stream. Of
 * a training checkpoint the state dict is read: the object itself, its `state_dict` or its `model`. Nothing in a file is
 * executed. @throws CheckpointError saying what the file is instead and what to do; the source then stays open.
 */
export async function openCheckpoint(source: ByteSource): Promise<Checkpoint> {
  const head = await readBytes(source, 0, Math.min(512, source.size));
  if (startsWith(head, 'PK\x03\x04')) return openTorchZip(source);
  if (looksLikeSafetensors(head)) return openSafetensors(source);
  if (head[0] === 0x80) return openTorchLegacy(source);
  throw new CheckpointError(`${source.name}: ${strange(head)}`);
}

const startsWith = (head: Uint8Array, text: string, at = 0) => [...text].every((c, i) => head[at + i] === c.charCodeAt(0));

/** A length below 2^32 and the brace that opens the header. */
const looksLikeSafetensors = (head: Uint8Array) => head[8] === 0x7b && head.subarray(4, 8).every((byte) => byte === 0);

const READ = 'Read are model.safetensors, pytorch_model.bin and other files of torch.save.';

/** What a file that is not read is, by its first bytes. */
function strange(head: Uint8Array): string {
  if (head.length === 0) return `the file is empty. Download it again. ${READ}`;
  if (startsWith(head, 'version https://git-lfs')) return 'is a Git LFS pointer, not the file itself. Fetch it: git lfs pull, or download it from the page of the model';
  if (startsWith(head, '\x89HDF')) return `is HDF5 (tf_model.h5), which is not read. Take the model's PyTorch or safetensors file. ${READ}`;
  if (startsWith(head, 'ustar', 257)) return `is a tar archive: unpack it (tar -xf) and open the file inside. The oldest files of torch.save are of this kind too and are not read: load them in Python and save them again. ${READ}`;
  if (startsWith(head, '\x1f\x8b') || startsWith(head, 'BZh') || startsWith(head, '\xfd7zXZ') || startsWith(head, '\x28\xb5\x2f\xfd')) return `is compressed. Unpack it first. ${READ}`;
  if (startsWith(head, '\x93NUMPY')) return `is an array of NumPy, which is not read. ${READ}`;
  if (startsWith(head, 'PK')) return `is an empty or split zip. Download it again. ${READ}`;
  const text = textOf(head);
  if (text === undefined) return `is of no kind that is known. Was it downloaded whole? ${READ}`;
  if (/^\s*</.test(text)) return `is HTML or XML, perhaps the page of an error or a login instead of the file. Download it again. ${READ}`;
  if (/^\s*\{/.test(text)) return `is JSON. The index of a sharded model is opened with openSharded, a configuration is no checkpoint. ${READ}`;
  return `is text (YAML, a script?): it begins with ${JSON.stringify(text.slice(0, 40))}. ${READ}`;
}

/** The bytes as text, or undefined where they are none. */
function textOf(head: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(head.subarray(0, 128), { stream: true });
    return /[^\P{Cc}\t\r\n]/u.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}
