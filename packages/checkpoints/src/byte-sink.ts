/** Where bytes go one behind the other: a file, a stream's writer. */
export interface ByteSink {
  /** The bytes are the sink's own only until its promise resolves: they may lie in memory that is used again. */
  write(bytes: Uint8Array): Promise<void>;
}
