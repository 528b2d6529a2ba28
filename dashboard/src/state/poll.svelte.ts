/** Asks the same question again and again, and keeps the last answer when no new one comes. */

import { ask, Refusal } from '../api/client.ts';
import { session } from './session.svelte.ts';

/** A server in trouble is asked less often, and for what it does not have still less. */
function patience(fault: Refusal | null): number {
  if (fault === null) return 0;
  return fault.status === 404 ? 15_000 : 4000;
}

export class Poll<T> {
  value = $state.raw<T | null>(null);
  fault = $state.raw<Refusal | null>(null);
  /** When the last good answer came, in milliseconds; 0 before the first. */
  heard = $state(0);
  asking = $state(false);
  private again: (() => void) | null = null;

  refresh(): void {
    this.again?.();
  }

  /** Asks now and every `every` ms (0: once) until the answer to this call is called. A page in the background rests. */
  start(path: string, every: number): () => void {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      if (document.hidden && this.heard > 0) return;
      this.asking = true;
      try {
        const value = await ask<T>(path, { signal: abort.signal });
        if (abort.signal.aborted) return;
        this.value = value;
        this.fault = null;
        this.heard = Date.now();
      } catch (fault) {
        if (abort.signal.aborted) return;
        this.fault = fault instanceof Refusal ? fault : new Refusal(0, String(fault));
        if (this.fault.status === 401) session.lost(this.fault);
      }
      this.asking = false;
      if (every > 0) timer = setTimeout(() => void turn(), Math.max(every, patience(this.fault)));
    };
    const shown = (): void => {
      if (!document.hidden) void turn();
    };
    document.addEventListener('visibilitychange', shown);
    this.again = () => void turn();
    void turn();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }
}

/** For components: follows `path` while it is mounted; `null` asks nothing. */
export function poll<T>(path: () => string | null, every: () => number): Poll<T> {
  const made = new Poll<T>();
  $effect(() => {
    const asked = path();
    const pause = every();
    if (asked === null) return undefined;
    return made.start(asked, pause);
  });
  return made;
}
