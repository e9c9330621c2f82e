import type { TrainEvent } from '@espalier/train';

/** Something for the user to read. */
export interface NoteEvent {
  readonly type: 'note';
  readonly text: string;
}
/** Questions are being scored. */
export interface ScoringEvent {
  readonly type: 'scoring';
  readonly split: string;
  readonly done: number;
  readonly of: number;
}
/** What a training tells while it runs. */
export type RunEvent = TrainEvent | NoteEvent | ScoringEvent;
