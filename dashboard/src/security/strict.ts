/** What a demand for mutual TLS would break, in words: verdict, flows by workload, and what to do about each. */

import type { ApiObject, StrictFlow, StrictReport } from '../api/shapes.ts';
import { span } from '../text/time.ts';
import { percent, plural } from '../text/units.ts';

/** How far back flows count: as the control plane reads it, and in words. */
export const SINCE: readonly [string, string][] = [
  ['1h', 'last hour'],
  ['1d', 'last day'],
  ['7d', 'last 7 days'],
  ['30d', 'last 30 days'],
];
export const USUAL = '1d';

export function sinceOf(given: string | undefined): string {
  return SINCE.some(([name]) => name === given) ? (given ?? USUAL) : USUAL;
}

/** Of a window that is known for less than this share, nothing is said without a warning. */
const ENOUGH = 0.95;

export interface Judgement {
  tone: 'ok' | 'degraded' | 'failing';
  title: string;
  text: string;
}

export function judgement(report: StrictReport): Judgement {
  const known = report.knownSeconds / Math.max(1, report.window.seconds);
  const [first] = report.errors;
  if (first !== undefined) return { tone: 'failing', title: 'It cannot be said', text: first };
  if (report.breaks > 0)
    return {
      tone: 'failing',
      title: `Yes: ${plural(report.breaks, 'flow')} would break`,
      text: 'Give their callers a proxy, or leave their services out: those go on taking plain text, and nothing else does.',
    };
  if (report.knownSeconds === 0)
    return {
      tone: 'degraded',
      title: 'Nobody knows yet',
      text: 'No proxy has told anything of that time. As soon as programs run beside sidecars, it is known who sends plain text.',
    };
  if (!report.changes)
    return { tone: 'ok', title: 'It holds already', text: 'What is stored demands mutual TLS here: plain text is refused.' };
  if (known < ENOUGH)
    return {
      tone: 'degraded',
      title: 'Nothing that was seen would break, but little was seen',
      text: `Only ${percent(known)} of that time is known. Whoever calls seldom may not have called yet: wait, or look at a shorter time.`,
    };
  return { tone: 'ok', title: 'No: nothing that was seen would break', text: 'Everybody who called has proven who it is.' };
}

/** `4 min of 1 d are known`. */
export function coverage(known: number, seconds: number): string {
  return known >= seconds
    ? `all of ${span(seconds * 1000)} is known`
    : `${span(known * 1000)} of ${span(seconds * 1000)} are known`;
}

export const namespaceOf = (uid: string): string => uid.split('/')[0] ?? '';
export const nameOf = (uid: string): string => uid.slice(uid.indexOf('/') + 1);

/** As a service is left out: `productpage.default`. */
export function exceptionOf(flow: Pick<StrictFlow, 'service' | 'to'>): string {
  return `${flow.service}.${namespaceOf(flow.to)}`;
}

export interface Receiver {
  /** `namespace/name` */
  workload: string;
  flows: StrictFlow[];
  breaks: number;
}

/** Flows by namespace, then by the workload that they come to; what breaks first. */
export function byNamespace(flows: readonly StrictFlow[]): { namespace: string; breaks: number; receivers: Receiver[] }[] {
  const spaces = new Map<string, Map<string, Receiver>>();
  for (const flow of flows) {
    const space = spaces.get(namespaceOf(flow.to)) ?? new Map<string, Receiver>();
    spaces.set(namespaceOf(flow.to), space);
    const known = space.get(flow.to) ?? { workload: flow.to, flows: [], breaks: 0 };
    space.set(flow.to, { ...known, flows: [...known.flows, flow], breaks: known.breaks + Number(flow.breaks) });
  }
  const worst = (a: { breaks: number }, b: { breaks: number }): number => b.breaks - a.breaks;
  return [...spaces]
    .map(([namespace, space]) => ({
      namespace,
      breaks: [...space.values()].reduce((sum, one) => sum + one.breaks, 0),
      receivers: [...space.values()].sort((a, b) => worst(a, b) || a.workload.localeCompare(b.workload)),
    }))
    .sort((a, b) => worst(a, b) || a.namespace.localeCompare(b.namespace));
}

export interface Advice {
  text: string;
  command: string | null;
}

/** What somebody can do about a flow. */
export function advice(flow: StrictFlow, leftOut: boolean): Advice {
  if (!flow.breaks)
    return {
      text: leftOut
        ? 'Left out: it goes on as it is, and anybody may send it.'
        : 'It would go on: a narrower policy takes plain text here.',
      command: null,
    };
  if (flow.from === null)
    return {
      text: 'Its caller has no proxy, so nobody knows who it is. Start the caller with one, or leave the service out.',
      command: 'taut run --service NAME -- PROGRAM',
    };
  return {
    text: `The sidecar of ${flow.from} sends it so: a DestinationRule turns TLS off for ${flow.service} (trafficPolicy.tls.mode DISABLE). Take that out.`,
    command: `taut why --from ${flow.from} --to ${flow.service}.${namespaceOf(flow.to)}`,
  };
}

/** `http to 9080`; several ports fit where the signals cannot tell which it was. */
export function carriedBy(flow: Pick<StrictFlow, 'protocols' | 'ports'>): string {
  const ports = flow.ports ?? [];
  return `${flow.protocols.join(', ')}${ports.length === 0 ? '' : ` to ${ports.join(' or ')}`}`;
}

/** One step of the change in words. */
export function stepWords(object: ApiObject): { what: string; where: string } {
  const { selector, mtls } = object.spec as {
    selector?: { matchLabels?: Record<string, string> };
    mtls?: { mode?: string };
  };
  const labels = Object.entries(selector?.matchLabels ?? {}).map(([name, value]) => `${name}=${value}`);
  const { namespace } = object.metadata;
  const all = namespace === 'istio-system' ? 'the whole mesh' : `all of namespace ${namespace}`;
  return {
    what: mtls?.mode === 'STRICT' ? 'Plain text is refused' : 'Plain text is still taken',
    where: labels.length === 0 ? `in ${all}` : `at ${labels.join(', ')} in namespace ${namespace}`,
  };
}

/** The same question in a terminal. */
export function command(namespace: string, since: string, except: readonly string[]): string {
  const left = except.map((one) => ` --except ${one}`).join('');
  return `taut trust strict --dry-run${namespace === '' ? '' : ` -n ${namespace}`}${since === USUAL ? '' : ` --since ${since}`}${left}`;
}
