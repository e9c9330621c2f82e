import type { Storage } from './storage.ts';

/** Where a captured step gets an array that enters it by name. */
export interface NamedFeed {
  readonly name: string;
  readonly make: () => { readonly dataId: object; dispose(): void };
}

/** One run of a step that is being recorded for replay. */
export class Recording {
  readonly feeds: { readonly feed: NamedFeed; readonly storage: Storage }[] = [];
  /** Why this step cannot be replayed: the first reason found. */
  obstacle: string | undefined;

  constructor(
    /** Storages of arguments and variables: they differ from run to run. */
    private readonly varying: ReadonlySet<Storage>,
    /** Ids of storages made in this run are at least this. */
    readonly first: number,
  ) {}

  feed(feed: NamedFeed, storage: Storage): void {
    if (storage.producer) this.obstacle ??= `the named feed '${feed.name}' is computed by operations, not made from host data`;
    this.feeds.push({ feed, storage });
  }

  /** Values were read on the host. That is a matter of course for constants; what differs from run to run must not decide anything. */
  looked(s: Storage, kernel: string | undefined): void {
    const computed = s.producer !== undefined;
    if (!computed && !this.varying.has(s) && !this.feeds.some((f) => f.storage === s)) return;
    const who = kernel === undefined ? 'its values were read on the host (data, dataSync, print)' : `the kernel ${kernel} runs on the host`;
    this.obstacle ??= `an array [${s.shape.join(', ')}] ${computed ? 'is computed in the step' : 'differs from call to call'}, and ${who}`;
  }
}
