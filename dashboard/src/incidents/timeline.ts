/** A timeline as it is read: changes that came together are one line, and so are guesses at the cause that followed each other; what says least is left out first. */

import type { TimelineEntry } from '../api/shapes.ts';
import { placeName } from './words.ts';

type Change = Extract<TimelineEntry, { event: 'change' }>;
type Guess = Extract<TimelineEntry, { event: 'cause' }>;

export type Row =
  { kind: 'entry'; entry: TimelineEntry } | { kind: 'changes'; entries: Change[] } | { kind: 'causes'; entries: Guess[] };

/** So many of a kind in a row are told together. */
const MANY = 4;

/** In the order of time. */
export function rows(timeline: readonly TimelineEntry[]): Row[] {
  const made: Row[] = [];
  let changes: Change[] = [];
  let causes: Guess[] = [];
  const single = (entry: TimelineEntry): Row => ({ kind: 'entry', entry });
  const end = (): void => {
    if (changes.length >= MANY) made.push({ kind: 'changes', entries: changes });
    else made.push(...changes.map(single));
    // The first and the last guess say most: those between are told together.
    const [first, last] = [causes[0], causes.at(-1)];
    if (causes.length >= MANY && first !== undefined && last !== undefined)
      made.push(single(first), { kind: 'causes', entries: causes.slice(1, -1) }, single(last));
    else made.push(...causes.map(single));
    [changes, causes] = [[], []];
  };
  for (const entry of [...timeline].sort((a, b) => a.at - b.at)) {
    if (entry.event === 'change' ? causes.length > 0 : entry.event !== 'cause' || changes.length > 0) end();
    if (entry.event === 'change') changes.push(entry);
    else if (entry.event === 'cause') causes.push(entry);
    else made.push(single(entry));
  }
  end();
  return made;
}

/** At most `most` rows where that is possible: of symptoms that come and go the later ones are left out first. */
export function essential(all: readonly Row[], most: number): Row[] {
  const minor = (row: Row): boolean => row.kind === 'entry' && (row.entry.event === 'symptom' || row.entry.event === 'relieved');
  let room = Math.max(0, most - all.filter((row) => !minor(row)).length);
  return all.filter((row) => {
    if (!minor(row)) return true;
    room -= 1;
    return room >= 0;
  });
}

/** `12 more guesses: reviews, ratings`. */
export function guesses(entries: readonly Guess[]): string {
  const places = [...new Set(entries.map((entry) => placeName(entry.place)))];
  const shown = places.slice(0, 3).join(', ');
  return `${entries.length} more guesses between: ${shown}${places.length > 3 ? ` and ${places.length - 3} more` : ''}`;
}

/** `20 changes, 1 to 16`: generations where they have one. */
export function together(entries: readonly Change[]): string {
  const generations = entries
    .map(({ change }) => (change.kind === 'configuration' ? change.generation : null))
    .filter((one) => one !== null);
  const [least, most] = [Math.min(...generations), Math.max(...generations)];
  return `${entries.length} changes${generations.length === 0 ? '' : `, ${least} to ${most}`}`;
}
