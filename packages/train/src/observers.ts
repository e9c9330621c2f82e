import { config } from 'rxjs';

const shield = { runs: 0 };

/** What an observer that throws, or does not handle what its operators throw, comes to: a process warning. */
function report(error: unknown): void {
  process.emitWarning(`an observer of training events threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, 'EspalierWarning');
}

/**
 * rxjs throws what an observer throws into the event loop, where it ends the process and the training with it. While a
 * run is under way such errors become process warnings instead; an application's own `config.onUnhandledError` is left
 * alone. The result ends the shield, after what is already on its way.
 */
export function shieldObservers(): () => void {
  config.onUnhandledError ??= report;
  shield.runs++;
  return () => {
    setTimeout(() => {
      if (--shield.runs === 0 && config.onUnhandledError === report) config.onUnhandledError = null;
    });
  };
}
