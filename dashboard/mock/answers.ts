/** Plausible, moving answers in the shapes of src/api/shapes.ts. */

import type {
  Caller,
  Endpoint,
  Flow,
  Graph,
  Health,
  Origin,
  Point,
  SecurityAnswer,
  ServiceDetail,
  Status,
} from '../src/api/shapes.ts';
import { PLURALS, type Objects } from './objects.ts';
import type { Mesh, MockEdge, MockService } from './topology.ts';

const id = (service: MockService): string => `${service.namespace}/${service.name}`;
const now = (): number => Math.floor(Date.now() / 1000);

function seedOf(name: string): number {
  let seed = 0;
  for (const letter of name) seed = (seed * 31 + letter.charCodeAt(0)) % 9973;
  return seed;
}

/** Slow waves, different for each seed, so that every line moves a little and none jumps. */
function ripple(seed: number, at: number): number {
  return 1 + 0.18 * Math.sin(at / 47 + seed) + 0.07 * Math.sin(at / 7 + seed * 2) + 0.03 * Math.sin(at * 1.7 + seed);
}

const wave = (name: string, at: number): number => ripple(seedOf(name), at);

function health(rate: number, errorRate: number): Health {
  if (rate === 0) return 'idle';
  return errorRate >= 0.1 ? 'failing' : errorRate >= 0.01 ? 'degraded' : 'ok';
}

/** Edges that a series is made of, at most. */
const SAMPLE = 200;

export class Answers {
  private readonly byId: Map<string, MockService>;

  constructor(
    private readonly mesh: Mesh,
    private readonly store: Objects,
  ) {
    this.byId = new Map(mesh.services.map((service) => [id(service), service]));
  }

  private shares(service: MockService): { version: string; share: number }[] {
    const spec = this.store.get('VirtualService', service.namespace, service.name)?.spec as
      { http?: { route?: { destination: { subset?: string }; weight?: number }[] }[] } | undefined;
    const routes = spec?.http?.[0]?.route ?? [];
    const total = routes.reduce((sum, route) => sum + (route.weight ?? 1), 0);
    return service.versions.map((version) => {
      const weight = routes
        .filter((route) => route.destination.subset === version)
        .reduce((sum, route) => sum + (route.weight ?? 1), 0);
      return { version, share: total === 0 ? 1 / service.versions.length : weight / total };
    });
  }

  /** The policy of action DENY that names the caller's account, if any. */
  private denied(edge: MockEdge): string | null {
    const [namespace = '', app = ''] = edge.to.split('/');
    const caller = edge.from.split('/')[1] ?? '';
    for (const object of this.store.objects.values()) {
      const spec = object.spec as { action?: string; selector?: { matchLabels?: { app?: string } } };
      if (object.kind !== 'AuthorizationPolicy' || spec.action !== 'DENY' || object.metadata.namespace !== namespace) continue;
      if (spec.selector?.matchLabels?.app === app && JSON.stringify(spec).includes(caller)) return object.metadata.name;
    }
    return null;
  }

  private rateOf(edge: MockEdge, at: number): number {
    return edge.rate * wave(edge.from + edge.to, at);
  }

  graph(at: number | null, windowSeconds: number): Graph {
    const when = at ?? now();
    const into = new Map<string, { rate: number; errors: number; seen: boolean }>();
    const edges = this.mesh.edges.map((asIs) => {
      const edge = this.denied(asIs) === null ? asIs : { ...asIs, errorRate: 1, reason: 'authorization_denied' };
      const rate = this.rateOf(edge, when);
      const sum = into.get(edge.to) ?? { rate: 0, errors: 0, seen: true };
      into.set(edge.to, { rate: sum.rate + rate, errors: sum.errors + rate * edge.errorRate, seen: true });
      const target = this.byId.get(edge.to);
      const [p50, p99] =
        edge.rate === 0 ? [null, null] : [edge.p50 * wave(edge.to, when), edge.p50 * 5.3 * wave(edge.from, when)];
      const failures: Record<string, number> =
        edge.reason === undefined ? {} : { [edge.reason]: Math.round(rate * edge.errorRate * windowSeconds) };
      const split = target === undefined || target.versions.length < 2 ? [] : this.shares(target);
      const connections = edge.protocol === 'tcp' ? 4 : 0;
      return {
        from: edge.from,
        to: edge.to,
        protocol: edge.protocol,
        rate,
        errorRate: edge.errorRate,
        p50,
        p99,
        security: edge.security,
        split,
        connections,
        failures,
      };
    });
    const callers = new Set(this.mesh.edges.map((edge) => edge.from));
    const nodes = this.mesh.services.map((service) => {
      const seen = into.get(id(service)) ?? { rate: 0, errors: 0, seen: false };
      const errorRate = seen.rate === 0 ? 0 : seen.errors / seen.rate;
      const versions = this.shares(service).map(({ version, share }) => ({
        version,
        workload: `${service.name}-${version}`,
        endpoints: 2,
        ready: 2,
        rate: seen.rate * share,
        errorRate,
      }));
      const state: Health = seen.rate === 0 && (seen.seen || callers.has(id(service))) ? 'ok' : health(seen.rate, errorRate);
      return { id: id(service), kind: service.kind, namespace: service.namespace, name: service.name, versions, health: state };
    });
    return { at: when, windowSeconds, complete: true, gaps: [], nodes, edges };
  }

  series(
    by: string,
    window: number,
    step: number,
    at: number | null,
    /** `namespace/name`, or nothing: everything. */
    service: string,
  ): { step: number; series: { key: Record<string, string>; points: Point[] }[] } {
    const end = at ?? now();
    // Of a large mesh a sample, each edge for many: times that are measured on it must not be the mock's own.
    const all = this.mesh.edges.filter((edge) => service === '' || edge.to === service);
    const each = Math.ceil(all.length / SAMPLE);
    const edges = all.filter((_, index) => index % each === 0).map((edge) => ({ ...edge, rate: edge.rate * each }));
    const found = this.mesh.services.find((one) => id(one) === service);
    const keys: { key: Record<string, string>; of: (edge: MockEdge) => number }[] =
      by === 'version' && found !== undefined
        ? this.shares(found).map(({ version, share }) => ({ key: { version }, of: () => share }))
        : by === 'source'
          ? edges.map((edge) => {
              const [space = '', name = ''] = edge.from.split('/');
              return {
                key: { namespace: space, workload: `${name}-v1`, app: name },
                of: (other: MockEdge) => (other === edge ? 1 : 0),
              };
            })
          : [{ key: {}, of: () => 1 }];
    const moving = edges.map((edge) => ({ edge, load: seedOf(edge.from + edge.to), speed: seedOf(edge.to) }));
    const series = keys.map(({ key, of }) => {
      const points: Point[] = [];
      for (let time = end - window; time <= end; time += step) {
        if (time > end - 310 && time < end - 285) {
          points.push({ at: time, gap: true });
          continue;
        }
        let [rate, errors, slow] = [0, 0, 0];
        for (const { edge, load, speed } of moving) {
          const part = edge.rate * ripple(load, time) * of(edge);
          rate += part;
          errors += part * edge.errorRate;
          if (part > 0) slow = Math.max(slow, edge.p50 * ripple(speed, time));
        }
        const idle = rate === 0;
        const latency = { p50: idle ? null : slow, p90: idle ? null : slow * 2.4, p99: idle ? null : slow * 5.3 };
        points.push({
          at: time,
          rate,
          errorRate: idle ? 0 : errors / rate,
          ...latency,
          bytesPerSecond: rate * 1800,
          inFlight: (rate * slow) / 1000,
          connections: 4,
        });
      }
      return { key, points };
    });
    return { step, series };
  }

  services(): unknown {
    const graph = this.graph(null, 30);
    const services = graph.nodes
      .filter((node) => node.kind !== 'external')
      .map((node) => {
        const into = graph.edges.filter((edge) => edge.to === node.id);
        const rate = into.reduce((sum, edge) => sum + edge.rate, 0);
        const errors = into.reduce((sum, edge) => sum + edge.rate * edge.errorRate, 0);
        const p99 = into.reduce<number | null>((most, edge) => (edge.p99 === null ? most : Math.max(most ?? 0, edge.p99)), null);
        const endpoints = node.versions.reduce((sum, version) => sum + version.endpoints, 0);
        const { namespace, name, kind } = node;
        const host = `${name}.${namespace}.svc.cluster.local`;
        const versions = node.versions.map((version) => version.version);
        return {
          namespace,
          name,
          host,
          kind,
          versions,
          endpoints,
          ready: endpoints,
          rate,
          errorRate: rate === 0 ? 0 : errors / rate,
          p99,
          health: node.health,
        };
      });
    return { services };
  }

  service(namespace: string, name: string): ServiceDetail | null {
    const found = this.mesh.services.find((service) => service.namespace === namespace && service.name === name);
    if (found === undefined) return null;
    const graph = this.graph(null, 30);
    const node = graph.nodes.find((one) => one.id === id(found));
    const into = graph.edges.filter((edge) => edge.to === id(found));
    const endpoints: Endpoint[] = found.versions.flatMap((version, at) =>
      [0, 1].map((turn) => ({
        workload: `${namespace}/${name}-${version}${turn === 0 ? '' : `-${turn}`}`,
        address: `10.4.${at}.${20 + turn}:${found.port}`,
        version,
        locality: turn === 0 ? 'eu-1/a' : 'eu-1/b',
        health: 'ready',
        ejected: name === 'ratings' && version === 'v2' && turn === 1 ? '5 consecutive 5xx, back in 24 s' : false,
        load: 0.2 + 0.5 * wave(name + version + turn, now()) * 0.5,
        inFlight: 3,
      })),
    );
    const callers: Caller[] = into.map((edge) => {
      const [space = '', caller = ''] = edge.from.split('/');
      const principal = `spiffe://cluster.local/ns/${space}/sa/${caller}`;
      return {
        namespace: space,
        workload: `${caller}-v1`,
        version: 'v1',
        principal,
        security: edge.security,
        rate: edge.rate,
        errorRate: edge.errorRate,
        p99: edge.p99,
      };
    });
    const failures = into
      .filter((edge) => Object.keys(edge.failures ?? {}).length > 0)
      .flatMap((edge) =>
        Object.entries(edge.failures ?? {}).map(([reason, count]) => ({
          reason,
          side: reason === 'authorization_denied' ? 'client' : 'upstream',
          count,
          last: now() - 2,
          from: `${edge.from}-v1`,
          exchanges: [0, 1].map((turn) => ({
            requestId: `8f0c2d1e-7a3b-4c55-9d10-00000000000${turn}`,
            at: now() - 2 - turn * 3,
            from: `${edge.from}-v1`,
            method: 'GET',
            path: `/${name}/${turn}`,
            status: reason === 'authorization_denied' ? 403 : 503,
          })),
        })),
      );
    const rules = (kinds: string[]): ServiceDetail['routes'] =>
      [...this.store.objects.values()]
        .filter(
          (object) =>
            kinds.includes(object.kind) && object.metadata.namespace === namespace && JSON.stringify(object.spec).includes(name),
        )
        .map((object) => ({
          origin: this.origin(object.kind, namespace, object.metadata.name),
          summary: JSON.stringify(object.spec).slice(0, 90),
        }));
    return {
      namespace,
      name,
      host: `${name}.${namespace}.svc.cluster.local`,
      kind: found.kind,
      health: node?.health ?? 'idle',
      ports: [{ port: found.port, name: found.protocol, protocol: found.protocol }],
      endpoints,
      routes: rules(['VirtualService', 'DestinationRule', 'HTTPRoute']),
      policies: rules(['AuthorizationPolicy', 'PeerAuthentication']),
      callers,
      failures,
    };
  }

  private origin(kind: string, namespace: string, name: string): Origin {
    const generation = this.store.get(kind, namespace, name)?.metadata.generation ?? 1;
    return { object: { kind, namespace, name }, generation, path: 'spec', location: null };
  }

  security(): SecurityAnswer {
    const graph = this.graph(null, 30);
    const allow = this.origin('AuthorizationPolicy', 'default', 'ratings-callers');
    const flows: Flow[] = graph.edges.map((edge) => {
      const denied = edge.failures?.['authorization_denied'] !== undefined;
      const requests = Math.round(edge.rate * 30);
      return {
        from: edge.from,
        to: edge.to,
        security: edge.security,
        allowedBy: !denied && edge.to === 'default/ratings' ? allow : null,
        deniedBy: denied ? allow : null,
        observed: requests === 0 && edge.protocol !== 'tcp' ? null : { requests, refused: denied ? requests : 0 },
      };
    });
    for (const service of this.mesh.services.slice(0, 12)) {
      if (service.namespace !== 'default' || service.name === 'ratings') continue;
      if (flows.some((flow) => flow.from === id(service) && flow.to === 'default/ratings')) continue;
      flows.push({
        from: id(service),
        to: 'default/ratings',
        security: 'unknown',
        allowedBy: null,
        deniedBy: allow,
        observed: null,
      });
    }
    const certificates = this.mesh.services
      .filter((service) => service.kind === 'service')
      .flatMap((service, at) =>
        service.versions.map((version, turn) => ({
          workload: `${service.namespace}/${service.name}-${version}`,
          identity: `spiffe://cluster.local/ns/${service.namespace}/sa/${service.name}`,
          notAfter: new Date(Date.now() + ((at * 7 + turn * 3) % 22) * 3_600_000 + 1_200_000).toISOString(),
          serial: (0x5a1e77 + at * 77 + turn).toString(16).padStart(16, '0'),
        })),
      );
    const plaintext = graph.edges
      .filter((edge) => edge.security === 'plaintext')
      .map(({ from, to, rate }) => ({ from, to, requests: Math.round(rate * 30) }));
    const policies = [...this.store.objects.values()]
      .filter((object) => object.apiVersion.startsWith('security'))
      .map((object) => ({
        origin: this.origin(object.kind, object.metadata.namespace, object.metadata.name),
        kind: object.kind,
        summary:
          object.kind === 'PeerAuthentication'
            ? 'mutual TLS STRICT in namespace default'
            : 'ALLOW to ratings from bookinfo-reviews',
      }));
    const rootNotAfter = new Date(Date.now() + 3290 * 86_400_000).toISOString();
    return {
      flows,
      plaintext,
      policies,
      certificates,
      authority: {
        trustDomain: 'cluster.local',
        rootNotAfter,
        rotation: { state: 'steady', detail: 'one root, acknowledged by every proxy' },
      },
    };
  }

  status(): Status {
    const proxies = this.mesh.services
      .filter((service) => service.kind === 'service')
      .slice(0, 40)
      .flatMap((service) =>
        service.versions.map((version) => ({
          uid: `${service.namespace}/${service.name}-${version}`,
          namespace: service.namespace,
          name: `${service.name}-${version}`,
          service: service.name,
          serviceAccount: service.name,
          proxyVersion: '0.1.0',
          readiness: 'Ready',
          since: new Date(Date.now() - 7_200_000).toISOString(),
          lagging: 0,
        })),
      );
    const resources = [...this.store.objects.values()].map((object) => ({
      kind: object.kind,
      namespace: object.metadata.namespace,
      name: object.metadata.name,
      live: {
        accepted: true,
        live: true,
        generation: object.metadata.generation,
        have: 9,
        need: 9,
        lagging: [],
        refused: {},
        message: '9/9',
      },
    }));
    const object = { kind: 'DestinationRule', namespace: 'default', name: 'reviews' };
    const problems =
      this.store.get('DestinationRule', 'default', 'reviews') === undefined
        ? []
        : [
            {
              severity: 'warning',
              code: 'SelectsNothing',
              message: 'the subset "v4" selects none of the 3 workloads',
              help: null,
              object,
              path: 'spec.subsets[2]',
              location: null,
              text: 'warning[SelectsNothing]',
            },
          ];
    return {
      version: this.store.changes.length,
      controlPlaneVersion: '0.1.0',
      trustDomain: 'cluster.local',
      proxies,
      resources,
      problems,
      away: [],
      starved: [],
    };
  }

  why(from: string, to: string, method: string, path: string): unknown {
    const target = `default/${to.split(/[.:]/)[0]}`;
    const edge = this.mesh.edges.find((one) => from.startsWith(one.from) && one.to === target);
    const policy = edge === undefined ? null : this.denied(edge);
    const denied = policy !== null || (from.includes('details') && to.includes('ratings'));
    const allow = this.origin('AuthorizationPolicy', 'default', policy ?? 'ratings-callers');
    const service = this.origin('Service', 'default', to.split(':')[0] ?? to);
    return {
      from,
      to,
      outbound: {
        outcome: `forwarded to ${to}`,
        steps: [
          { mark: 'info', text: `${method} ${path} from ${from} to ${to}`, origin: null },
          { mark: 'match', text: `service      ${to} (http)`, origin: service },
          { mark: 'chosen', text: `chosen       ${to} (weight 1 of 1)`, origin: service },
          {
            mark: 'info',
            text: 'timeout      none',
            origin: { ...service, generation: 0, object: { kind: 'built-in default:', namespace: '', name: 'timeout' } },
          },
        ],
      },
      inbound: {
        workload: `default/${to}-v1`,
        explanation: {
          outcome: denied ? 'refused with 403 authorization_denied: no ALLOW policy of ratings matches' : 'let in to port 9080',
          steps: [
            {
              mark: 'match',
              text: `mutual TLS   the peer proved to be spiffe://cluster.local/ns/${from.replace('/', '/sa/')}`,
              origin: null,
            },
            denied
              ? {
                  mark: 'refused',
                  text: `refused      AuthorizationPolicy ${allow.object.namespace}/${allow.object.name} refuses it`,
                  origin: { ...allow, path: 'spec.rules[0]' },
                }
              : { mark: 'chosen', text: 'let in       to the application on port 9080', origin: allow },
          ],
        },
      },
    };
  }

  happened(requestId: string): unknown {
    const asked = this.why(
      this.store.get('AuthorizationPolicy', 'default', 'ratings-closed') === undefined
        ? 'default/details-v1'
        : 'default/reviews-v1',
      'ratings',
      'GET',
      '/ratings/0',
    ) as {
      outbound: unknown;
      inbound: { explanation: unknown };
    };
    const record = (reporter: string): unknown => ({
      method: 'GET',
      path: '/ratings/0',
      started: new Date(Date.now() - 4000).toISOString(),
      status: 403,
      duration_us: 1840,
      edge: { reporter },
      attempts: [{ address: '10.4.0.20:15008', endpoint: 'default/ratings-v1', duration_us: 1710, result: '403' }],
      failure: {
        reason: 'authorization_denied',
        side: 'client',
        detail: 'AuthorizationPolicy default/ratings-callers does not allow it',
        retry_safe: false,
        origin: null,
      },
    });
    return {
      requestId,
      asked: 9,
      halves: [
        { proxy: 'default/details-v1', answer: { explanation: asked.outbound, record: record('source') } },
        { proxy: 'default/ratings-v1', answer: { explanation: asked.inbound.explanation, record: record('destination') } },
      ],
    };
  }
}

export function discovery(group: string): unknown {
  const resources = Object.entries(PLURALS)
    .filter(([, [version]]) => version === group)
    .map(([kind, [, name]]) => ({ name, kind, namespaced: true, verbs: ['get', 'list', 'patch', 'delete'] }));
  return { kind: 'APIResourceList', groupVersion: group, resources };
}
