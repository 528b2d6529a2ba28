/** Where in the dashboard one is: the part of the URL after `#`, so that every view can be bookmarked and shared. */

import { href, parse, type Place } from './hash.ts';

export { href };

let current = $state.raw<Place>(parse(window.location.hash));
window.addEventListener('hashchange', () => (current = parse(window.location.hash)));

export const place = {
  get path(): string[] {
    return current.path;
  },
  get parameters(): Record<string, string> {
    return current.parameters;
  },
  go(path: string[], parameters: Record<string, string | null> = {}): void {
    window.location.hash = href(path, parameters);
  },
  /** Changes parameters of this view without a step in the history. */
  set(parameters: Record<string, string | null>): void {
    const next = href(current.path, { ...current.parameters, ...parameters });
    if (next === href(current.path, current.parameters)) return;
    window.history.replaceState(null, '', next);
    current = parse(next);
  },
};
