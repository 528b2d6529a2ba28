/** Changes that other pages lead to, as text for the editor: the address holds the question, so that a plan can be shared. */

import { stringify } from 'yaml';
import { ask, query } from '../api/client.ts';
import type { ApiObject, StrictReport, SuggestAnswer, Suggestion } from '../api/shapes.ts';
import { unseen } from '../security/allow.ts';
import { coverage, stepWords } from '../security/strict.ts';

export interface Proposal {
  title: string;
  text: string;
  /** Each object must be live everywhere before the next is applied. */
  inOrder: boolean;
  /** The flows that it is held against. */
  since: string;
  /** Back to the page that led here. */
  back: { path: string[]; parameters: Record<string, string | null> };
}

/** `null`: the address names none. */
export async function proposal(parameters: Record<string, string>): Promise<Proposal | null> {
  const { from, namespace = '', since = '1d', except = '', service = '' } = parameters;
  if (from === 'strict') {
    const report = await ask<StrictReport>(query('/taut/v1/trust/strict', { namespace, since, except }));
    return {
      title: `Refuse plain text in ${namespace === '' ? 'the whole mesh' : `namespace ${namespace}`}`,
      text: strictText(report),
      inOrder: true,
      since,
      back: { path: ['security', 'strict'], parameters: { namespace: namespace || null, since, except: except || null } },
    };
  }
  if (from === 'allow') {
    const answer = await ask<SuggestAnswer>(query('/taut/v1/policy/suggest', { namespace, since, service }));
    return {
      title: `Let in who was seen${service === '' ? '' : ` calling ${service}`} in ${answer.namespace}`,
      text: allowText(answer),
      inOrder: false,
      since,
      back: { path: ['security', 'allow'], parameters: { namespace: answer.namespace, since } },
    };
  }
  return null;
}

const yaml = (object: ApiObject): string => stringify(object, { lineWidth: 0 });

export function strictText(report: StrictReport): string {
  const known = `# ${coverage(report.knownSeconds, report.window.seconds)}; what came in plain text in the rest is not.\n`;
  const documents = report.objects.map((object) => {
    const { what, where } = stepWords(object);
    return `# ${what} ${where}.\n${yaml(object)}`;
  });
  return known + documents.join('---\n');
}

export function allowText(answer: SuggestAnswer): string {
  const written = answer.suggestions.filter((one) => one.policy !== null);
  if (written.length === 0) return '# Nobody was seen, or something stands in the way: no policy can be written.\n';
  return written.map(one).join('---\n');
}

/** A policy with what each line rests on. */
function one(suggestion: Suggestion): string {
  const { level, knownSeconds } = suggestion.confidence;
  const lines = [
    `${suggestion.service}: ${suggestion.workloads.join(', ')}`,
    `confidence ${level}: ${knownSeconds} s are known; ${unseen(suggestion)}`,
    ...suggestion.callers.map(
      (caller) =>
        `${caller.principal} (${caller.workloads.join(', ')}): ${caller.carried} calls to ${caller.ports.join(', ')}, in ${caller.hours} h, ${caller.first} to ${caller.last}`,
    ),
    ...suggestion.claimed.map((claimed) => `NOT LET IN: ${claimed.principal}: only its own proxy tells of its calls`),
    ...suggestion.refused.map((refused) => `not let in: ${refused.principal}: policies refused all of its calls`),
    ...suggestion.notes,
  ];
  const comments = lines.map((line) => `# ${line}\n`).join('');
  return comments + (suggestion.policy === null ? '' : yaml(suggestion.policy));
}
