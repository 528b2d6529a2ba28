/** Objects as YAML that people edit, and back as requests to the API. Loaded with the editor only. */

import { parseAllDocuments, parseDocument, stringify } from 'yaml';
import { ask, query, Refusal } from '../api/client.ts';
import { destination, pathOf } from '../api/kinds.ts';

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

/** Server-side apply, one document after the other. `force` takes fields over from other managers. */
export async function apply(text: string, force: boolean): Promise<Written[]> {
  const all = documents(text);
  const kinds = await Promise.all(all.map((one) => destination(one.apiVersion, one.kind)));
  for (const [index, one] of all.entries()) {
    const kind = kinds[index];
    if (kind === undefined) continue;
    const path = query(pathOf(kind, one.namespace, one.name), { fieldManager: 'dashboard', ...(force ? { force: true } : {}) });
    await ask(path, { method: 'PATCH', body: one.text, type: 'application/apply-patch+yaml' });
  }
  return all;
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
