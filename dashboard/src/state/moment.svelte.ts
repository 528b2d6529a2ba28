/** Which moment all views show, and over how long: now and moving, or one that was picked. */

import { place } from './place.svelte.ts';

export const WINDOWS: readonly [number, string][] = [
  [10, '10s'],
  [30, '30s'],
  [60, '1m'],
  [300, '5m'],
  [900, '15m'],
];

let ticked = $state(Date.now());
setInterval(() => (ticked = Date.now()), 1000);

export const moments = {
  /** Milliseconds; moves once a second. */
  get now(): number {
    return ticked;
  },
  /** Unix seconds that were picked; `null`: live. */
  get at(): number | null {
    const given = Number(place.parameters['at'] ?? '');
    return Number.isFinite(given) && given > 0 ? given : null;
  },
  get window(): string {
    const given = place.parameters['window'] ?? '';
    return WINDOWS.some(([, name]) => name === given) ? given : '30s';
  },
  travel(at: number | null): void {
    place.set({ at: at === null || at >= Math.floor(Date.now() / 1000) - 1 ? null : String(Math.round(at)) });
  },
  widen(window: string): void {
    place.set({ window: window === '30s' ? null : window });
  },
};
