import { describe, expect, it } from 'vitest';
import { query } from '../api/client.ts';
import { documents, editable, same } from '../configuration/documents.ts';
import { EXAMPLES } from '../configuration/examples.ts';
import { href, parse } from './hash.ts';

describe('addresses', () => {
  it('come back as they were', () => {
    const path = ['services', 'default', 'a b/c'];
    expect(parse(href(path, { sel: 'x>y', q: '', at: null }))).toEqual({ path, parameters: { sel: 'x>y' } });
    expect(parse('')).toEqual({ path: [], parameters: {} });
    expect(parse('#/map?q=50%25')).toEqual({ path: ['map'], parameters: { q: '50%' } });
    expect(parse('#/%E0%A4%A')).toEqual({ path: ['%E0%A4%A'], parameters: {} });
  });

  it('of questions leave out what was not said', () => {
    expect(query('/x', { a: 1, b: null, c: '', d: 'e f' })).toBe('/x?a=1&d=e+f');
  });
});

describe('objects as YAML', () => {
  const stored = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'a', namespace: 'b', uid: '1', resourceVersion: '9', generation: 2, managedFields: [], labels: { x: 'y' } },
    spec: { ports: [{ port: 80 }] },
    status: { conditions: [] },
  };

  it('show what people write and not what the server adds', () => {
    const text = editable(stored);
    expect(text).toContain('labels:');
    for (const hidden of ['uid', 'resourceVersion', 'managedFields', 'generation', 'status']) expect(text).not.toContain(hidden);
    expect(documents(text).map(({ kind, namespace, name }) => [kind, namespace, name])).toEqual([['Service', 'b', 'a']]);
  });

  it('are compared by what they say', () => {
    expect(same('kind: Service\nspec: {ports: [{port: 80}]}', { ...stored, kind: 'Service' })).toBe(true);
    expect(same('kind: Service\nspec: {}', stored)).toBe(false);
  });

  it('need a name', () => {
    expect(() => documents('kind: Service\nmetadata: {}')).toThrow(/metadata.name/);
    expect(() => documents('a: [')).toThrow();
    expect(documents('# nothing\n---\n')).toEqual([]);
  });

  it('begin with examples that are whole', () => {
    for (const { text } of EXAMPLES) expect(documents(text).length).toBeGreaterThan(0);
  });
});
