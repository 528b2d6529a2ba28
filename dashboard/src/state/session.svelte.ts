/** Who looks at this page, and what they may do. */

import { ask, Refusal } from '../api/client.ts';
import type { Role, Session } from '../api/shapes.ts';

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

let known = $state.raw<Session | null>(null);
let outside = $state.raw<{ methods: string[]; message: string | null } | null>(null);
let fault = $state.raw<Refusal | null>(null);

function methodsOf(refusal: Refusal): string[] {
  const methods = refusal.body['methods'];
  return Array.isArray(methods) ? methods.filter((one): one is string => typeof one === 'string') : ['token'];
}

export const session = {
  get value(): Session | null {
    return known;
  },
  /** Set when one has to sign in. */
  get outside(): { methods: string[]; message: string | null } | null {
    return outside;
  },
  get fault(): Refusal | null {
    return fault;
  },
  may(role: Role): boolean {
    return known !== null && RANK[known.role] >= RANK[role];
  },
  async load(): Promise<void> {
    fault = null;
    try {
      known = await ask<Session>('/taut/v1/session');
      outside = null;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status === 401) session.lost(refusal);
      else fault = refusal;
    }
  },
  lost(refusal: Refusal): void {
    outside = { methods: methodsOf(refusal), message: known === null ? null : 'Your session has ended.' };
    known = null;
  },
  async signIn(token: string): Promise<void> {
    await ask('/taut/v1/session', { method: 'POST', body: { token } });
    await session.load();
  },
  async signOut(): Promise<void> {
    await ask('/taut/v1/session', { method: 'DELETE' });
    await session.load();
  },
};
