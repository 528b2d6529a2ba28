/** Objects as YAML that people edit, and back as requests to the API. Loaded with the editor only. */

import { parseAllDocuments, parseDocument, stringify } from 'yaml';
import { ask, query, Refusal } from '../api/client.ts';
import { destination, pathOf } from '../api/kinds.ts';
import type { Status } from '../api/shapes.ts';
import { mayChange } from '../state/permissions.svelte.ts';

const SERVERS = ['managedFields', 'uid', 'resourceVersion', 'generation', 'creationTimestamp', 'selfLink'];

/** Without what only the server writes. */
export function editable(object: Record<string, unknown>): string {
  const { status: _status, metadata, ...rest } = object;
  const kept = Object.fromEntries(
    Object.entries((metadata ?? {}) as Record<string, unknown>).filter(([key]) => !SERVERS.includes(key)),
  );
  const { apiVersion, kind, ...body } = rest as Record<string, unknown>;
  return stringify({ apiVersion, kind, metadata: kept, ...body }, { lineWidth: 0 });
}

export interface Written {
  text: string;
  apiVersion: string;
  kind: string;
  namespace: string;
  name: string;
}

/** The documents of a text that name an object. */
export function documents(text: string): Written[] {
  return parseAllDocuments(text)
    .filter((document) => document.errors.length > 0 || document.toJS() !== null)
    .map((document) => {
      if (document.errors.length > 0) throw new Refusal(400, document.errors[0]?.message ?? 'the YAML cannot be read');
      const value = document.toJS() as {
        apiVersion?: unknown;
        kind?: unknown;
        metadata?: { name?: unknown; namespace?: unknown };
      } | null;
      const of = (field: unknown): string => (typeof field === 'string' ? field : '');
      const [apiVersion, kind, name] = [of(value?.apiVersion), of(value?.kind), of(value?.metadata?.name)];
      if (apiVersion === '' || kind === '' || name === '')
        throw new Refusal(400, 'each document needs apiVersion, kind and metadata.name');
      const stated = of(value?.metadata?.namespace);
      return { text: document.toString({ lineWidth: 0 }), apiVersion, kind, namespace: stated === '' ? 'default' : stated, name };
    });
}

/** The kinds of a text that whoever is signed in may not change. */
export async function forbidden(text: string): Promise<string[]> {
  const kinds = [...new Map(documents(text).map((one) => [`${one.apiVersion} ${one.kind}`, one])).values()];
  const answers = await Promise.all(
    kinds.map(async (one) => {
      const found = await destination(one.apiVersion, one.kind);
      return mayChange(one.apiVersion.includes('/') ? (one.apiVersion.split('/')[0] ?? '') : '', found.plural);
    }),
  );
  return kinds.filter((_, index) => answers[index] === false).map((one) => one.kind);
}

/**
 * Server-side apply, one document after the other. `force` takes fields over from other managers. With `told`, each is live on every
 * proxy before the next is applied: then it hears what is waited for.
 */
export async function apply(text: string, force: boolean, told: ((text: string) => void) | null = null): Promise<Written[]> {
  const all = documents(text);
  const kinds = await Promise.all(all.map((one) => destination(one.apiVersion, one.kind)));
  for (const [index, one] of all.entries()) {
    const kind = kinds[index];
    if (kind === undefined) continue;
    const path = query(pathOf(kind, one.namespace, one.name), { fieldManager: 'dashboard', ...(force ? { force: true } : {}) });
    const stored = await ask<Stored>(path, { method: 'PATCH', body: one.text, type: 'application/apply-patch+yaml' });
    if (told !== null && index < all.length - 1) await live(one, stored.metadata?.generation ?? 0, told);
  }
  return all;
}

interface Stored {
  metadata?: { generation?: number };
}

const LOOK_MS = 250;
const LIVE_IN_MS = 30_000;

/** Waits until every connected proxy has it. */
async function live(one: Written, generation: number, told: (text: string) => void): Promise<void> {
  const name = `${one.kind} ${one.namespace}/${one.name}`;
  const until = Date.now() + LIVE_IN_MS;
  for (;;) {
    const { resources } = await ask<Status>('/taut/v1/status');
    const found = resources.find((row) => row.kind === one.kind && row.namespace === one.namespace && row.name === one.name);
    if (found !== undefined && found.live.generation >= generation) {
      if (found.live.live) return;
      if (!found.live.accepted)
        throw new Refusal(422, `${name} is not accepted: ${found.live.message}. What follows it was not applied.`);
    }
    if (Date.now() > until)
      throw new Refusal(
        504,
        `${name} is stored, and after ${LIVE_IN_MS / 1000} s not every proxy has it (${found?.live.message ?? 'no status yet'}). What follows it was not applied: apply again when it is live.`,
      );
    told(`waiting until ${name} is live: ${found === undefined ? 'no status yet' : `${found.live.have}/${found.live.need}`}`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

/** Whether what is stored says the same as what was written, beside what the server adds. */
export function same(written: string, stored: Record<string, unknown>): boolean {
  const body = (value: Record<string, unknown>): string => {
    const { status: _status, metadata: _metadata, apiVersion: _version, ...rest } = value;
    return JSON.stringify(sorted(rest));
  };
  return body(parseDocument(written).toJS() as Record<string, unknown>) === body(stored);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

/** Stores exactly what was written, also what it leaves out. */
export async function replace(one: Written): Promise<void> {
  const kind = await destination(one.apiVersion, one.kind);
  const path = pathOf(kind, one.namespace, one.name);
  const stored = await ask<{ metadata: { resourceVersion?: string } }>(path);
  const value = parseDocument(one.text).toJS() as { metadata: Record<string, unknown> };
  value.metadata = { ...value.metadata, namespace: one.namespace, resourceVersion: stored.metadata.resourceVersion };
  await ask(query(path, { fieldManager: 'dashboard' }), { method: 'PUT', body: value });
}
