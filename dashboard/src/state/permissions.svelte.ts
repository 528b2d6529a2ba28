/** What the one who is signed in may change, as the control plane answers `kubectl auth can-i`; asked once for each kind and session. */

import { ask, Refusal } from '../api/client.ts';
import { session } from './session.svelte.ts';

let known = new Map<string, Promise<boolean>>();
let whose = '';

interface Review {
  status?: { allowed?: boolean };
}

/** Whether objects of this group and plural may be applied. */
export function mayChange(group: string, resource: string): Promise<boolean> {
  const me = `${session.value?.user} ${session.value?.role}`;
  if (me !== whose) [known, whose] = [new Map(), me];
  const key = `${group}/${resource}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = review(group, resource);
  known.set(key, asked);
  return asked;
}

async function review(group: string, resource: string): Promise<boolean> {
  try {
    const answer = await ask<Review>('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
      method: 'POST',
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb: 'patch', group, resource } },
      },
    });
    return answer.status?.allowed === true;
  } catch (fault) {
    // One that cannot say leaves it to the request itself, which it judges all the same.
    if (fault instanceof Refusal) return session.may('operator');
    throw fault;
  }
}
