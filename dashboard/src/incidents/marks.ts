/** What incidents mark on the map: services whose users are hurt, and the first causes by rank. */

import type { Incident, NodeId } from '../api/shapes.ts';

export interface Mark {
  /** Of the incident that marks it; the one in which it ranks first. */
  incident: string;
  /** Users feel it here; or requests to it fail or are slow, which users may feel elsewhere. */
  hurt: 'users' | 'requests' | null;
  /** 1, 2 or 3; `null`: no likely cause. */
  rank: number | null;
}

export interface Marks {
  nodes: Map<NodeId, Mark>;
  /** By `from>to`: causes that lie between two services. */
  links: Map<string, Mark>;
}

const RANKS = 3;

/** Those that were open at a moment in unix seconds; `null`: those that are open. */
export function openAt(incidents: readonly Incident[], at: number | null): Incident[] {
  if (at === null) return incidents.filter((incident) => incident.closed === null);
  return incidents.filter((incident) => incident.began <= at && (incident.closed === null || incident.closed > at));
}

export function marks(incidents: readonly Incident[]): Marks {
  const made: Marks = { nodes: new Map(), links: new Map() };
  for (const incident of incidents) {
    for (const symptom of incident.symptoms) {
      // What is over in an incident that goes on does not hurt any more.
      if (symptom.until !== null && incident.closed === null) continue;
      const known = made.nodes.get(symptom.node);
      const hurt = symptom.node === incident.subject || known?.hurt === 'users' ? 'users' : 'requests';
      made.nodes.set(symptom.node, { incident: known?.incident ?? incident.id, hurt, rank: known?.rank ?? null });
    }
    incident.causes.slice(0, RANKS).forEach(({ place }, index) => {
      if ('link' in place) rank(made.links, place.link.join('>'), incident.id, index + 1);
      else
        rank(
          made.nodes,
          'service' in place ? place.service : 'part' in place ? place.part[0] : place.outside,
          incident.id,
          index + 1,
        );
    });
  }
  return made;
}

function rank(into: Map<string, Mark>, key: string, incident: string, place: number): void {
  const known = into.get(key);
  if (known?.rank !== null && known !== undefined && known.rank <= place) return;
  into.set(key, { incident, hurt: known?.hurt ?? null, rank: place });
}
