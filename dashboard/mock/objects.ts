/** A store of objects with generations and a history, as much of the resource API as the dashboard uses. */

import { parseAllDocuments, stringify, LineCounter } from 'yaml';

export interface MockObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string; generation: number; creationTimestamp: string; managedFields?: unknown[] };
  spec: Record<string, unknown>;
  status?: unknown;
}

export interface Change {
  generation: number;
  at: string;
  by: { user: string; manager: string; file: string | null };
  objects: {
    verb: string;
    kind: string;
    namespace: string;
    name: string;
    before: string | null;
    after: string | null;
    diff: string;
  }[];
  live: { total: number; live: number; lagging: string[]; refused: Record<string, string> };
}

export const PLURALS: Record<string, [string, string]> = {
  VirtualService: ['networking.istio.io/v1', 'virtualservices'],
  DestinationRule: ['networking.istio.io/v1', 'destinationrules'],
  ServiceEntry: ['networking.istio.io/v1', 'serviceentries'],
  AuthorizationPolicy: ['security.istio.io/v1', 'authorizationpolicies'],
  PeerAuthentication: ['security.istio.io/v1', 'peerauthentications'],
  ServiceLevelObjective: ['tautline.dev/v1alpha1', 'servicelevelobjectives'],
  HTTPRoute: ['gateway.networking.k8s.io/v1', 'httproutes'],
};

const key = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`;

export const SEED = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews]
  http:
    - route:
        - destination: { host: reviews, subset: v1 }
          weight: 90
        - destination: { host: reviews, subset: v2 }
          weight: 10
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: default }
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: { simple: RANDOM }
  subsets:
    - name: v1
      labels: { version: v1 }
    - name: v2
      labels: { version: v2 }
    - name: v3
      labels: { version: v3 }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ratings-callers, namespace: default }
spec:
  selector: { matchLabels: { app: ratings } }
  action: ALLOW
  rules:
    - from:
        - source: { principals: [cluster.local/ns/default/sa/bookinfo-reviews] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: default }
spec:
  mtls: { mode: STRICT }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: bank, namespace: pay }
spec:
  hosts: [api.bank.example]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: DNS
`;

export class Objects {
  readonly objects = new Map<string, MockObject>();
  readonly changes: Change[] = [];

  constructor(seed: string) {
    if (seed !== '') this.apply(seed, 'kubectl');
    const first = this.changes[0];
    if (first !== undefined) first.at = new Date(Date.now() - 3 * 3_600_000).toISOString();
  }

  get(kind: string, namespace: string, name: string): MockObject | undefined {
    return this.objects.get(key(kind, namespace, name));
  }

  problems(text: string): { line: number; column: number; message: string; hint: string | null }[] {
    const lines = new LineCounter();
    const found = [];
    for (const document of parseAllDocuments(text, { lineCounter: lines })) {
      for (const error of document.errors) {
        const place = lines.linePos(error.pos[0]);
        found.push({ line: place.line, column: place.col, message: error.message.split('\n')[0] ?? '', hint: null });
      }
      const value = (document.errors.length === 0 ? document.toJS() : null) as Partial<MockObject> | null;
      if (value?.kind !== undefined && !(value.kind in PLURALS)) {
        found.push({
          line: 1,
          column: 1,
          message: `there is no kind ${value.kind}`,
          hint: `known: ${Object.keys(PLURALS).join(', ')}`,
        });
      }
    }
    text.split('\n').forEach((line, index) => {
      const typo = /^(\s*-?\s*)(wieght|hots|subnet|destnation):/.exec(line);
      if (typo === null) return;
      const better = { wieght: 'weight', hots: 'hosts', subnet: 'subset', destnation: 'destination' }[typo[2] ?? ''];
      found.push({
        line: index + 1,
        column: (typo[1]?.length ?? 0) + 1,
        message: `unknown field "${typo[2]}"`,
        hint: `did you mean "${better}"?`,
      });
    });
    return found;
  }

  /** What applying would do, without doing it. */
  plan(text: string): Change['objects'] {
    return (parseAllDocuments(text).map((document) => document.toJS()) as (MockObject | null)[])
      .filter((wanted) => wanted?.kind !== undefined)
      .map((wanted) => {
        const object = wanted as MockObject;
        const [namespace, name] = [object.metadata.namespace ?? 'default', object.metadata.name];
        const known = this.get(object.kind, namespace, name);
        const [before, after] = [
          known === undefined ? null : shown(known),
          shown({ ...object, metadata: { ...object.metadata, namespace } }),
        ];
        const verb = known === undefined ? 'create' : before === after ? 'unchanged' : 'update';
        return { verb, kind: object.kind, namespace, name, before, after, diff: unified(before ?? '', after) };
      });
  }

  apply(text: string, manager: string): void {
    const planned = this.plan(text).filter((one) => one.verb !== 'unchanged');
    for (const one of planned) this.put(one.kind, one.namespace, one.name, one.after);
    this.record(planned, manager);
  }

  rollback(generation: number): number {
    const change = this.changes.find((one) => one.generation === generation);
    const undone = (change?.objects ?? []).map((one) => ({
      ...one,
      before: one.after,
      after: one.before,
      diff: unified(one.after ?? '', one.before ?? ''),
    }));
    for (const one of undone) this.put(one.kind, one.namespace, one.name, one.after);
    this.record(
      undone.map((one) => ({ ...one, verb: one.after === null ? 'delete' : 'update' })),
      'dashboard',
    );
    return this.changes.length;
  }

  remove(kind: string, namespace: string, name: string): void {
    const known = this.get(kind, namespace, name);
    if (known === undefined) return;
    const before = shown(known);
    this.objects.delete(key(kind, namespace, name));
    this.record([{ verb: 'delete', kind, namespace, name, before, after: null, diff: unified(before, '') }], 'dashboard');
  }

  private put(kind: string, namespace: string, name: string, text: string | null): void {
    if (text === null) {
      this.objects.delete(key(kind, namespace, name));
      return;
    }
    const known = this.get(kind, namespace, name);
    const object = parseAllDocuments(text)[0]?.toJS() as MockObject;
    object.metadata = {
      ...object.metadata,
      generation: (known?.metadata.generation ?? 0) + 1,
      creationTimestamp: new Date().toISOString(),
    };
    this.objects.set(key(kind, namespace, name), object);
  }

  private record(objects: Change['objects'], manager: string): void {
    if (objects.length === 0) return;
    const generation = this.changes.length + 1;
    const live = { total: 9, live: 9, lagging: [], refused: {} };
    this.changes.push({ generation, at: new Date().toISOString(), by: { user: 'admin', manager, file: null }, objects, live });
  }
}

function shown(object: MockObject): string {
  const { name, namespace } = object.metadata;
  return stringify({ apiVersion: object.apiVersion, kind: object.kind, metadata: { name, namespace }, spec: object.spec });
}

/** A plain diff: one hunk from the first line that differs to the last. */
export function unified(before: string, after: string): string {
  const [a, b] = [before.split('\n').slice(0, -1), after.split('\n').slice(0, -1)];
  let start = 0;
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  if (start === a.length && start === b.length) return '';
  const from = Math.max(0, start - 3);
  const tail = Math.min(3, end);
  const lines = [
    ...a.slice(from, start).map((line) => ` ${line}`),
    ...a.slice(start, a.length - end).map((line) => `-${line}`),
    ...b.slice(start, b.length - end).map((line) => `+${line}`),
    ...a.slice(a.length - end, a.length - end + tail).map((line) => ` ${line}`),
  ];
  const [olds, news] = [a.length - end + tail - from, b.length - end + tail - from];
  return [`@@ -${from + 1},${olds} +${from + 1},${news} @@`, ...lines].join('\n');
}
