/** How users are hurt, from the symptoms where they are: what they get now, against what was usual. */

import type { Incident, Symptom } from '../api/shapes.ts';
import { count, milliseconds, percent, plural, rate } from '../text/units.ts';
import { nodeName, signalName } from './words.ts';

export interface Harm {
  /** Who feels it, and where they come in. */
  who: string;
  /** What they feel, the plainest first. */
  felt: string[];
}

const ORDER = ['errorRatio', 'latencyP99', 'latencyP50', 'covered', 'saturation', 'rate'];

export function harm(incident: Incident): Harm {
  const over = incident.closed !== null;
  const own = incident.symptoms.filter((symptom) => symptom.node === incident.subject);
  const place = (symptom: Symptom): number => (typeof symptom.signal === 'string' ? ORDER.indexOf(symptom.signal) : ORDER.length);
  const felt = [...own].sort((a, b) => place(a) - place(b)).map((symptom) => feels(symptom, over));
  // How many is told beside it; where no symptom is of users, it is all that is known.
  const hurt =
    felt.length === 0 && incident.hurt > 0
      ? [`${plural(incident.hurt, 'request')} failed or ${incident.hurt === 1 ? 'was' : 'were'} too slow`]
      : [];
  return { who: who(incident, over), felt: [...new Set(felt), ...hurt] };
}

function who(incident: Incident, over: boolean): string {
  const { users } = incident;
  const subject = nodeName(incident.subject);
  if (users !== undefined && users.length > 0) return `Users ${over ? 'felt' : 'feel'} it at ${users.map(nodeName).join(', ')}`;
  if (users !== undefined) return over ? `No user felt it: ${subject} did` : `No user feels it yet: ${subject} does`;
  if (incident.hurt === 0) return over ? `It was about to reach ${subject}` : `It will reach ${subject}`;
  return `Users of ${subject} ${over ? 'felt' : 'feel'} it`;
}

function feels({ signal, baseline, now, worst, until }: Symptom, over: boolean): string {
  const ended = over || until !== null;
  const value = ended ? worst : now;
  const then = ended ? ' at worst' : '';
  if (typeof signal !== 'string')
    return `the budget of objective ${signal.objective} burns ${count(value)} times as fast as it lasts${then}`;
  switch (signal) {
    case 'errorRatio':
      return `${percent(value)} of requests fail${then}, ${percent(baseline)} before`;
    case 'latencyP99':
      return `one request in 100 takes ${milliseconds(value)} or more${then}, ${milliseconds(baseline)} before`;
    case 'latencyP50':
      return `half of the requests take ${milliseconds(value)} or more${then}, ${milliseconds(baseline)} before`;
    case 'rate':
      return `${rate(value)} come${then}, ${rate(baseline)} before`;
    case 'saturation':
      return `${count(value)} requests wait at the same time${then}, ${count(baseline)} before`;
    case 'covered':
      return `${percent(value)} of tries fail and are made again${then}, ${percent(baseline)} before: users wait for it`;
    default:
      // A newer control plane may know more than this page.
      return `${signalName(signal)} ${count(value)}${then}, ${count(baseline)} before`;
  }
}
