/** The code that a refused client was shown, read from whatever somebody pastes. */

import { words } from '../text/origin.ts';

export interface Denial {
  /** As in `x-taut-reason`. */
  reason: string | null;
  /** With it the proxies are asked. */
  requestId: string | null;
}

/** What the codes say to somebody who has nothing else; names are those of `x-taut-reason`. */
const MEANINGS: Record<string, string> = {
  authorization_denied: 'an AuthorizationPolicy does not let the caller in',
  mutual_tls_required: 'the caller came in plain text, and mutual TLS is demanded',
  policies_not_received: 'the proxy has not received a policy that is referenced, and lets nobody pass until it has',
  authorizer_failed: 'the external authorizer did not answer',
  token_policy_not_accepted: 'a RequestAuthentication that cannot be honoured is about the workload',
  rate_limited: 'a RateLimit has no room',
  not_served_here: 'the workload does not serve that port',
  not_of_the_mesh: 'the destination is not of the mesh, and programs may reach nothing else',
  peer_untrusted: 'the certificate of the other side is not believed',
};

export function meaning(reason: string): string {
  return MEANINGS[reason] ?? words(reason);
}

const UNIT = /[0-9a-f]{8,}(?:-[0-9a-f]+)*/i;

/** From `client authorization_denied (request 5f0c…)`, headers, or the id alone. */
export function denial(pasted: string): Denial {
  const text = pasted.trim();
  const reason = /x-taut-reason:\s*([a-z_]+)/i.exec(text)?.[1] ?? /\b([a-z]+(?:_[a-z]+)+)\b/.exec(text)?.[1] ?? null;
  const named = /\brequest(?:-id)?:?\s+([^\s);,]+)/i.exec(text)?.[1] ?? null;
  const bare = text !== '' && !/\s/.test(text) && text !== reason ? text : (UNIT.exec(text)?.[0] ?? null);
  return { reason, requestId: named ?? bare };
}
