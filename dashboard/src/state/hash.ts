/** The part of an address after `#`, as a path and parameters, and back. */

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
  const search = new URLSearchParams(kept).toString();
  return `#/${path.map(encodeURIComponent).join('/')}${search === '' ? '' : `?${search}`}`;
}
