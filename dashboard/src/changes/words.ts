/** Changes in words. */

import type { ChangeRow } from '../api/shapes.ts';
import { objectName } from '../text/origin.ts';
import { plural } from '../text/units.ts';

export function by(of: ChangeRow['by']): string {
  if (of.file !== undefined && of.file !== null && of.file !== '') return of.file;
  const names = [of.user, of.manager].filter((name): name is string => typeof name === 'string' && name !== '');
  if (names.length === 0) return 'unknown';
  return names.length === 2 ? `${names[0]} with ${names[1]}` : (names[0] ?? '');
}

export function what(objects: ChangeRow['objects']): string {
  const [first] = objects;
  if (first === undefined) return 'nothing';
  const rest = objects.length === 1 ? '' : ` and ${plural(objects.length - 1, 'more')}`.replace('mores', 'more');
  return `${first.verb} ${first.kind} ${objectName(first)}${rest}`;
}
