/** Incidents in words: places, signals, causes, evidence and what happened, each from its own figures. */

import type {
  Cause,
  CauseKind,
  CausePlace,
  Evidence,
  Incident,
  MeshChange,
  NodeId,
  Signal,
  TimelineEntry,
} from '../api/shapes.ts';
import type { WhyQuestion } from '../state/asking.svelte.ts';
import { words } from '../text/origin.ts';
import { span } from '../text/time.ts';
import { count, milliseconds, percent, plural, rate } from '../text/units.ts';

export function nodeName(id: NodeId): string {
  return id === 'outside' ? 'outside the mesh' : id.slice(id.indexOf('/') + 1);
}

/** As hosts are written: `reviews.default`. */
export function hostOf(id: NodeId): string {
  const [namespace = '', name] = id.split('/', 2);
  return name === undefined ? namespace : `${name}.${namespace}`;
}

export function signalName(signal: Signal): string {
  if (typeof signal !== 'string') return `objective ${signal.objective}`;
  const names = {
    errorRatio: 'errors',
    latencyP50: 'latency p50',
    latencyP99: 'latency p99',
    rate: 'requests',
    saturation: 'requests in flight',
    covered: 'tries that retries cover',
  };
  return names[signal] ?? signal;
}

/** A value in the unit of its signal. */
export function signalValue(signal: Signal, value: number | null | undefined): string {
  if (typeof signal !== 'string') return value === null || value === undefined ? '–' : `${count(value)}×`;
  switch (signal) {
    case 'errorRatio':
    case 'covered':
      return percent(value);
    case 'latencyP50':
    case 'latencyP99':
      return milliseconds(value);
    case 'rate':
      return rate(value);
    default:
      return count(value);
  }
}

const KINDS: Record<CauseKind, string> = {
  slow: 'slow',
  failing: 'failing',
  unreachable: 'unreachable',
  network: 'network trouble',
  refused: 'refused by the mesh',
  saturated: 'saturated',
  surge: 'more load than usual',
  quiet: 'less load than usual',
};

export function kindName(kind: CauseKind): string {
  return KINDS[kind] ?? kind;
}

export function placeName(place: CausePlace): string {
  if ('service' in place) return nodeName(place.service);
  if ('link' in place) return `${nodeName(place.link[0])} → ${nodeName(place.link[1])}`;
  if ('outside' in place)
    return place.outside === 'outside' ? 'outside the mesh' : `${nodeName(place.outside)}, outside the mesh`;
  const [node, part] = place.part;
  return `${nodeName(node)} ${part.version === '' || part.version === 'unknown' ? part.workload : part.version}`;
}

/** The services that a place is made of. */
export function placeNodes(place: CausePlace): NodeId[] {
  if ('service' in place) return [place.service];
  if ('link' in place) return place.link;
  return 'outside' in place ? [place.outside] : [place.part[0]];
}

/** Every service that an incident is about. */
export function concerned(incident: Incident): Set<NodeId> {
  const places = incident.causes.flatMap((cause) => placeNodes(cause.place));
  return new Set([incident.subject, ...incident.symptoms.map((symptom) => symptom.node), ...places]);
}

const VERDICTS: Record<Incident['verdict'], string> = {
  found: 'cause found',
  outsideMesh: 'the cause is outside the mesh',
  noCause: 'nothing in the mesh explains it',
  tooEarly: 'too early to say',
};

export function verdictName(verdict: Incident['verdict']): string {
  return VERDICTS[verdict] ?? verdict;
}

export function changeText(change: MeshChange): string {
  switch (change.kind) {
    case 'configuration': {
      const [first] = change.objects;
      const rest = change.objects.length > 1 ? ` and ${change.objects.length - 1} more` : '';
      return `change ${change.generation}${first === undefined ? '' : `: ${first}${rest}`}${change.by === '' ? '' : `, by ${change.by}`}`;
    }
    case 'version':
      return `version ${change.version} of ${nodesOf(change)} began to serve`;
    case 'endpoints':
      return `${nodesOf(change)} went from ${plural(change.before, 'endpoint')} to ${change.after}`;
    default:
      return `certificate of ${nodesOf(change)}: ${change.detail}`;
  }
}

function nodesOf(change: MeshChange): string {
  return change.nodes.length === 0 ? 'the mesh' : change.nodes.map(nodeName).join(', ');
}

/** What a line of the timeline says; where it leads is told by its event. */
export function happening(entry: TimelineEntry): string {
  switch (entry.event) {
    case 'began':
      return 'It began, as the signals say';
    case 'opened':
      return 'Noticed';
    case 'closed':
      return 'Closed: users are served as before';
    case 'symptom':
      return `${nodeName(entry.node)}: ${signalName(entry.signal)} out of the usual`;
    case 'relieved':
      return `${nodeName(entry.node)}: ${signalName(entry.signal)} as usual again`;
    case 'cause':
      return `Likely cause: ${placeName(entry.place)}, ${kindName(entry.cause)} (${percent(entry.confidence)} sure)`;
    case 'change':
      return changeText(entry.change);
  }
}

/** How improbable, had nothing changed: 12 is one in 10¹². */
export function chance(surprise: number): string {
  if (!Number.isFinite(surprise) || surprise <= 0) return 'usual';
  if (surprise < 4) return `1 in ${count(10 ** surprise)}`;
  const digits = [...String(Math.min(999, Math.floor(surprise)))].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)] ?? '').join('');
  return `1 in 10${digits}`;
}

export interface Figure {
  name: string;
  value: string;
  /** Length of its bar, 0 to 1; `null`: no bar. */
  part: number | null;
  /** What it is compared with: drawn paler. */
  usual?: boolean;
}

/** A piece of evidence as a small table. */
export interface Shown {
  about: string;
  figures: Figure[];
}

/** Two values side by side; `usual` is the one that the other is held against. */
function compared(names: [string, string], values: [number, number], unit: (value: number) => string, usual = 0): Figure[] {
  const most = Math.max(...values.map(Math.abs), Number.MIN_VALUE);
  return values.map((value, index) => ({
    name: names[index] ?? '',
    value: unit(value),
    part: Math.min(1, Math.max(0, value / most)),
    usual: index === usual,
  }));
}

function own(evidence: Extract<Evidence, { perSecond: number }>): Shown {
  const time = evidence.kind === 'ownTime';
  const more = time ? `${milliseconds(evidence.perSecond * 1000)} each second` : rate(evidence.perSecond);
  return {
    about: time
      ? `Time that ${nodeName(evidence.node)} adds by itself, without what it waits for`
      : `Failures that begin at ${nodeName(evidence.node)}, without those passed on`,
    figures: [
      { name: 'more than usual', value: more, part: null },
      { name: 'share of the hurt', value: percent(evidence.share), part: Math.min(1, Math.max(0, evidence.share)) },
      { name: 'by chance', value: chance(evidence.surprise), part: null },
    ],
  };
}

function near(before: number): string {
  if (before === 0) return 'In the second it began';
  return `${span(Math.abs(before) * 1000)} ${before > 0 ? 'before' : 'after'} it began`;
}

export function shown(evidence: Evidence): Shown {
  const beforeNow: [string, string] = ['before', 'now'];
  switch (evidence.kind) {
    case 'ownTime':
    case 'ownFailures':
      return own(evidence);
    case 'gap':
      return {
        about: `Time between what ${nodeName(evidence.source)} waits and what ${nodeName(evidence.destination)} takes`,
        figures: compared(beforeNow, [evidence.before, evidence.now], milliseconds),
      };
    case 'reason':
      return {
        about: `${nodeName(evidence.source)} → ${nodeName(evidence.destination)} ended with ${words(evidence.reason)}`,
        figures: compared(beforeNow, [evidence.before, evidence.now], rate),
      };
    case 'covered':
      return {
        about: `Tries of ${nodeName(evidence.source)} at ${nodeName(evidence.destination)} that fail (${percent(evidence.felt)} after retries)`,
        figures: compared(beforeNow, [evidence.before, evidence.now], percent),
      };
    case 'part': {
      const units = { share: percent, milliseconds, perSecond: rate };
      const name = evidence.part.version === '' ? evidence.part.workload : `${evidence.part.workload} ${evidence.part.version}`;
      return {
        about: `One part of ${nodeName(evidence.node)} against its others`,
        figures: compared([name, 'its others'], [evidence.own, evidence.others], units[evidence.unit] ?? count, 1),
      };
    }
    case 'pressure':
      return {
        about: `${words(evidence.what)} of ${nodeName(evidence.node)}`,
        figures: compared(beforeNow, [evidence.before, evidence.now], percent),
      };
    case 'load':
      return { about: `Load of ${nodeName(evidence.node)}`, figures: compared(beforeNow, [evidence.before, evidence.now], rate) };
    case 'change':
      return { about: `${near(evidence.before)}: ${changeText(evidence.change)}`, figures: [] };
    case 'well':
      return { about: `${nodeName(evidence.node)} serves its other callers as well as ever`, figures: [] };
    default:
      return { about: words((evidence as { kind: string }).kind), figures: [] };
  }
}

/** The hop that a cause is about, where its evidence names one: what the mesh decides for it can be asked. */
export function question(cause: Cause): WhyQuestion | null {
  let hop: [string, string] | null = 'link' in cause.place ? cause.place.link : null;
  for (const evidence of cause.evidence)
    if (hop === null && (evidence.kind === 'reason' || evidence.kind === 'gap')) hop = [evidence.source, evidence.destination];
  if (hop === null || hop[0] === 'outside') return null;
  return { from: hop[0], to: hostOf(hop[1]) };
}
