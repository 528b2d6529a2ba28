/** Names of objects and places, written the way the command line writes them. */

import type { ObjectRef, Origin } from '../api/shapes.ts';

/** What nobody wrote has generation 0 and the kind `built-in default:`. */
export function isWritten(origin: Origin): boolean {
  return origin.generation > 0 && !origin.object.kind.startsWith('built-in');
}

export function objectName(object: ObjectRef): string {
  return object.namespace === '' ? object.name : `${object.namespace}/${object.name}`;
}

export function originText(origin: Origin): string {
  if (!isWritten(origin)) return `built-in default: ${origin.object.name}`;
  const place = origin.location === null ? '' : ` (${origin.location.file}:${origin.location.line})`;
  const path = origin.path === '' ? '' : ` ${origin.path}`;
  return `${origin.object.kind} ${objectName(origin.object)}@${origin.generation}${path}${place}`;
}

/** `mutual_tls` is for programs. */
export function words(name: string): string {
  return name.replaceAll('_', ' ');
}
