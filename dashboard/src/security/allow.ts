/** Policies suggested from what was seen, in words: what each line lets in and what it rests on. */

import type { Confidence, SeenCaller, Suggestion } from '../api/shapes.ts';
import { percent } from '../text/units.ts';

/** `cluster.local/ns/shop/sa/cart` is `cart` to people in shop, and `cart in pay` to the others. */
export function account(principal: string, namespace: string): string {
  const found = /^[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal);
  if (found === null) return principal;
  return found[1] === namespace ? (found[2] ?? principal) : `${found[2]} in ${found[1]}`;
}

/** The signals do not always tell ports apart: then all that fit are let in. */
export function ports(caller: Pick<SeenCaller, 'ports'>): string {
  return caller.ports.length === 0 ? 'any port' : caller.ports.join(', ');
}

export const LEVELS: Record<Confidence, { bars: number; tone: 'ok' | 'degraded' | 'failing'; text: string }> = {
  low: { bars: 1, tone: 'failing', text: 'too little was seen to rely on it' },
  medium: { bars: 2, tone: 'degraded', text: 'a day is known; who comes once a week may lack' },
  high: { bars: 3, tone: 'ok', text: 'a week is known, and its callers came again and again' },
};

/** Below this a day is not known well enough, and above that callers lack. */
const KNOWN = 0.95;
const LACKING = 0.05;

/** Why it can be relied on no further. */
export function reasons(of: Suggestion): string {
  const { level, knownShare, unseen: lacking } = of.confidence;
  if (level !== 'low') return `${LEVELS[level].text}; ${unseen(of)}`;
  const known = knownShare < KNOWN ? [`only ${percent(knownShare)} of that time is known`] : [];
  const seen = lacking > LACKING ? [unseen(of)] : [];
  const all = [...known, ...seen];
  return `${LEVELS.low.text}: ${all.length === 0 ? 'less than a day is known' : all.join('; ')}`;
}

/** How likely there are callers that were not seen. */
export function unseen(of: Suggestion): string {
  if (of.callers.length === 0) return 'no caller was seen';
  if (of.confidence.unseen >= 1) return 'every caller was seen in a single hour, so others may not have come yet';
  return `${percent(of.confidence.unseen)} of callers’ hours may be of callers that were not seen`;
}

export type State = 'written' | 'withheld' | 'nobody';

/** Whether there is a policy; if not, whether something stands in the way or nobody called. */
export function stateOf(of: Suggestion): State {
  if (of.policy !== null) return 'written';
  return of.withheld.length > 0 ? 'withheld' : 'nobody';
}

const ORDER: readonly State[] = ['written', 'withheld', 'nobody'];

/** What can be applied first. */
export function ordered(all: readonly Suggestion[]): Suggestion[] {
  return [...all].sort((a, b) => ORDER.indexOf(stateOf(a)) - ORDER.indexOf(stateOf(b)) || a.service.localeCompare(b.service));
}

/** The same question in a terminal. */
export function command(namespace: string, since: string): string {
  return `taut policy suggest -n ${namespace}${since === '1d' ? '' : ` --since ${since}`} > least.yaml`;
}
