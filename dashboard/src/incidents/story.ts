/** The story of an incident taken apart: which sentence tells which piece of evidence, which tell a cause, and what to look at next. */

import type { Evidence, Incident, StoryLine } from '../api/shapes.ts';

/** A piece of evidence with the name that the command line gives it too. */
export interface Numbered {
  /** Cause and evidence by index: `0.1`. */
  id: string;
  evidence: Evidence;
  /** What the story says of it and of nothing else. */
  sentence: string | null;
}

export interface Told {
  text: string;
  /** By name. */
  evidence: string[];
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
/** So begins a sentence about a cause as a whole. */
const RANKED = /^\d+\. /;

export function parts(incident: Incident): Parts {
  const evidence = numbered(incident);
  const all = new Map(evidence.flat().map((one) => [one.id, one]));
  const made: Parts = { evidence, causes: incident.causes.map(() => []), rest: [], next: [] };
  const lines = incident.story.lines;
  for (const line of lines.slice(leading(incident, lines))) {
    if (line.text.startsWith(NEXT)) {
      made.next.push(...steps(line.text.slice(NEXT.length)));
      continue;
    }
    const cited = line.evidence.map((id) => all.get(id)).filter((one) => one !== undefined);
    const [first] = cited;
    if (first === undefined) made.rest.push({ text: line.text, evidence: [] });
    else if (cited.length === 1 && first.sentence === null && !RANKED.test(line.text)) first.sentence = line.text;
    // The rank stands in its disc.
    else
      made.causes[Number(first.id.split('.')[0])]?.push({
        text: line.text.replace(RANKED, ''),
        evidence: cited.map((one) => one.id),
      });
  }
  return made;
}

function numbered(incident: Incident): Numbered[][] {
  return incident.causes.map((cause, at) =>
    cause.evidence.map((evidence, index) => ({ id: `${at}.${index}`, evidence, sentence: null })),
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
