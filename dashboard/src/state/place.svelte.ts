/** Where in the dashboard one is: the part of the URL after `#`, so that every view can be bookmarked and shared. */

import { SvelteURLSearchParams } from 'svelte/reactivity';

export interface Place {
  /** `['services', 'default', 'reviews']` */
  path: string[];
  parameters: Record<string, string>;
}

export function parse(hash: string): Place {
  const [path = '', search = ''] = hash.replace(/^#/, '').split('?', 2);
  const parts = path.split('/').filter((part) => part !== '');
  return { path: parts.map(decoded), parameters: Object.fromEntries(new URLSearchParams(search)) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(path: string[], parameters: Record<string, string | null> = {}): string {
  const kept = Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== null && entry[1] !== '');
  const search = new SvelteURLSearchParams(kept).toString();
  return `#/${path.map(encodeURIComponent).join('/')}${search === '' ? '' : `?${search}`}`;
}

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
