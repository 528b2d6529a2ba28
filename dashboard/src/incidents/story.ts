/** The story of an incident taken apart: which sentence tells which piece of evidence, which tell a cause, and what to look at next. */

import type { Evidence, Incident, StoryLine } from '../api/shapes.ts';

/** A piece of evidence with its place, and the name that the command line gives it too: `e1`. */
export interface Numbered {
  /** Cause and evidence by index: `0.1`. */
  id: string;
  name: string;
  evidence: Evidence;
  /** What the story says of it and of nothing else. */
  sentence: string | null;
}

export interface Told {
  text: string;
  evidence: { id: string; name: string }[];
}

export interface Step {
  command: string;
  why: string;
}

export interface Parts {
  /** By cause. */
  evidence: Numbered[][];
  /** Sentences about a cause as a whole. */
  causes: Told[][];
  /** Sentences that rest on no evidence. */
  rest: Told[];
  next: Step[];
}

const NEXT = 'Next: ';

/** Evidence is named by its cause and place (`0.1`) or counted over all causes from 1 on. */
function resolve(all: readonly { id: string }[], given: string | number): string | null {
  const text = String(given);
  if (/^\d+\.\d+$/.test(text)) return all.some((one) => one.id === text) ? text : null;
  return all[Number(text.replace(/^e/, '')) - 1]?.id ?? null;
}

export function parts(incident: Incident): Parts {
  const evidence = numbered(incident);
  const all = evidence.flat();
  const made: Parts = { evidence, causes: incident.causes.map(() => []), rest: [], next: [] };
  const lines = incident.story.lines;
  for (const line of lines.slice(leading(incident, lines))) {
    if (line.text.startsWith(NEXT)) {
      made.next.push(...steps(line.text.slice(NEXT.length)));
      continue;
    }
    const cited = line.evidence
      .map((given) => all.find((one) => one.id === resolve(all, given)))
      .filter((one) => one !== undefined);
    const [first] = cited;
    if (first === undefined) made.rest.push({ text: line.text, evidence: [] });
    else if (cited.length === 1 && first.sentence === null) first.sentence = line.text;
    // The rank stands in its disc.
    else made.causes[Number(first.id.split('.')[0])]?.push({ text: line.text.replace(/^\d+\. /, ''), evidence: cited });
  }
  return made;
}

function numbered(incident: Incident): Numbered[][] {
  let count = 0;
  return incident.causes.map((cause, at) =>
    cause.evidence.map((evidence, index) => {
      count += 1;
      return { id: `${at}.${index}`, name: `e${count}`, evidence, sentence: null };
    }),
  );
}

/** A story begins with a sentence for each symptom: their table says the same. */
function leading(incident: Incident, lines: readonly StoryLine[]): number {
  const first = lines.slice(0, incident.symptoms.length);
  return first.every((line) => line.evidence.length === 0 && !line.text.startsWith(NEXT)) ? first.length : 0;
}

/** What is to be typed stands between backticks, and what it shows behind it. */
function steps(text: string): Step[] {
  const made: Step[] = [];
  text.split('`').forEach((piece, index) => {
    const last = made.at(-1);
    if (index % 2 === 1 && piece.startsWith('taut ')) made.push({ command: piece, why: '' });
    else if (last !== undefined) last.why += piece;
  });
  return made.map(({ command, why }) => ({ command, why: why.trim().replace(/[.,;]$/, '') }));
}
