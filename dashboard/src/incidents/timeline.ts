/** A timeline as it is read: changes that came together are one line, and what says least is left out first. */

import type { TimelineEntry } from '../api/shapes.ts';

type Change = Extract<TimelineEntry, { event: 'change' }>;

export type Row = { kind: 'entry'; entry: TimelineEntry } | { kind: 'changes'; entries: Change[] };

/** So many changes in a row are told together. */
const MANY = 4;

/** In the order of time. */
export function rows(timeline: readonly TimelineEntry[]): Row[] {
  const made: Row[] = [];
  let run: Change[] = [];
  const end = (): void => {
    if (run.length >= MANY) made.push({ kind: 'changes', entries: run });
    else made.push(...run.map((entry): Row => ({ kind: 'entry', entry })));
    run = [];
  };
  for (const entry of [...timeline].sort((a, b) => a.at - b.at)) {
    if (entry.event === 'change') {
      run.push(entry);
      continue;
    }
    end();
    made.push({ kind: 'entry', entry });
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

/** `20 changes, 1 to 16`: generations where they have one. */
export function together(entries: readonly Change[]): string {
  const generations = entries
    .map(({ change }) => (change.kind === 'configuration' ? change.generation : null))
    .filter((one) => one !== null);
  const [least, most] = [Math.min(...generations), Math.max(...generations)];
  return `${entries.length} changes${generations.length === 0 ? '' : `, ${least} to ${most}`}`;
}
