/** Where to look next: commands to type, and the question to ask the proxies, from what an incident rests on. */

import type { Cause, Incident } from '../api/shapes.ts';
import type { WhyQuestion } from '../state/asking.svelte.ts';
import { hostOf, nodeName, placeNodes } from './words.ts';

/** The hop that a cause is about, where its evidence names one: what the mesh decides for it can be asked. */
export function question(cause: Cause): WhyQuestion | null {
  let hop: [string, string] | null = 'link' in cause.place ? cause.place.link : null;
  for (const evidence of cause.evidence)
    if (hop === null && (evidence.kind === 'reason' || evidence.kind === 'gap')) hop = [evidence.source, evidence.destination];
  if (hop === null || hop[0] === 'outside') return null;
  return { from: hop[0], to: hostOf(hop[1]) };
}

/** The generation of the configuration that came shortly before. */
export function generation(cause: Cause): number | null {
  for (const evidence of cause.evidence)
    if (evidence.kind === 'change' && evidence.change.kind === 'configuration') return evidence.change.generation;
  return null;
}

export interface Step {
  why: string;
  command: string;
}

export function next(incident: Incident): Step[] {
  const steps: Step[] = [];
  const cause = incident.causes[0];
  const nodes = cause === undefined ? [incident.subject] : placeNodes(cause.place);
  const node = nodes.at(-1) ?? incident.subject;
  const changed = cause === undefined ? null : generation(cause);
  if (changed !== null) steps.push({ why: 'what was changed shortly before', command: `taut changes ${changed}` });
  const asked = cause === undefined ? null : question(cause);
  if (asked !== null)
    steps.push({ why: 'what the mesh decides there', command: `taut why --from ${asked.from} --to ${asked.to}` });
  if (node !== 'outside') {
    if (incident.state === 'open' && (cause?.kind === 'failing' || cause?.kind === 'refused'))
      steps.push({
        why: `requests to ${nodeName(node)} that fail, as they happen`,
        command: `taut tap --to ${node} --status 5xx`,
      });
    const then = incident.closed === null ? '' : ` --window 5m --at ${incident.closed}`;
    steps.push({ why: `who calls ${nodeName(node)}, and how well`, command: `taut edges --service ${hostOf(node)}${then}` });
  }
  steps.push({ why: 'all of this in a terminal', command: `taut incidents ${incident.id} --evidence` });
  return steps;
}
