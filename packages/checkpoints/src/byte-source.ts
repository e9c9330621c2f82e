/** Bytes that can be read at any place: a file, a Blob, an array. Reading beyond `size` throws. */
export interface ByteSource {
  readonly name: string; // for messages: a path, a URL
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on. */
  read(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}
