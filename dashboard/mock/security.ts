/** What STRICT would break, what to allow and whom the mesh believes, for a shop with one caller in plain text. */

import type { ApiObject, StrictReport, SuggestAnswer, Suggestion, TrustAnswer } from '../src/api/shapes.ts';
import { seconds as secondsOf } from '../src/text/time.ts';
import type { Mesh } from './topology.ts';

const KNOWN_SECONDS = 7 * 3600;
const iso = (ago: number): string => new Date(Date.now() - ago * 1000).toISOString();

function looked(since: string): StrictReport['window'] {
  const days = /^(\d+)d$/.exec(since);
  const seconds = days === null ? (secondsOf(since) ?? 86_400) : Number(days[1]) * 86_400;
  return { from: iso(seconds), to: iso(0), seconds, knownFrom: iso(Math.min(seconds, KNOWN_SECONDS)) };
}

const authentication = (name: string, namespace: string, spec: Record<string, unknown>): ApiObject => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name, namespace },
  spec,
});

export function strict(mesh: Mesh, namespace: string, since: string, except: readonly string[]): StrictReport {
  const window = looked(since);
  const wanted = namespace === '' || namespace === 'default';
  const flows: StrictReport['plaintext'] =
    mesh.services.length === 0 || !wanted
      ? []
      : [
          { from: null, to: 'default/productpage-v1', service: 'productpage', carried: 3571, ago: 2 },
          { from: 'orders/archive-v1', to: 'default/store-v1', service: 'store', carried: 12, ago: 5100 },
        ].map(({ from, to, service, carried, ago }) => {
          const breaks = !except.includes(`${service}.default`);
          const port = service === 'store' ? 7000 : 9080;
          const refused = 'refused with 403 mutual_tls_required';
          const after = `${refused} (port ${port} takes only mutual TLS (STRICT), and the peer came in plain text)`;
          return {
            from,
            to,
            host: `${service}.default.svc.cluster.local`,
            service,
            protocols: [service === 'store' ? 'tcp' : 'http'],
            ports: [port],
            carried,
            first: iso(KNOWN_SECONDS - 60),
            last: iso(ago),
            breaks,
            after: breaks ? after : null,
          };
        });
  const breaks = flows.filter((flow) => flow.breaks).length;
  const left = except.map((one) => one.split('.')[0] ?? one);
  return {
    window,
    knownSeconds: mesh.services.length === 0 ? 0 : Math.min(window.seconds, KNOWN_SECONDS),
    plaintext: flows,
    breaks,
    errors: [],
    withoutProxy: mesh.services.length === 0 ? [] : ['orders/archive-v0'],
    narrower: [],
    objects: [
      ...left.map((name) =>
        authentication(`plain-text-to-${name}`, 'default', {
          selector: { matchLabels: { app: name } },
          mtls: { mode: 'PERMISSIVE' },
        }),
      ),
      authentication('default', namespace === '' ? 'istio-system' : namespace, { mtls: { mode: 'STRICT' } }),
    ],
    changes: true,
    safe: breaks === 0,
  };
}

export function suggest(mesh: Mesh, namespace: string, since: string, only: string): SuggestAnswer {
  const window = looked(since);
  const here = mesh.services.filter((one) => one.namespace === namespace && one.kind === 'service');
  const share = Math.min(1, KNOWN_SECONDS / window.seconds);
  const suggestions = here
    .filter((one) => only === '' || one.name === only)
    .map((service): Suggestion => {
      const edges = mesh.edges.filter((edge) => edge.to === `${namespace}/${service.name}`);
      const callers = edges
        .filter((edge) => edge.errorRate < 1 && !edge.from.startsWith('edge/'))
        .map((edge) => {
          const [space = '', name = ''] = edge.from.split('/');
          return {
            principal: `cluster.local/ns/${space}/sa/${name}`,
            workloads: [`${edge.from}-v1`],
            ports: [service.port],
            protocols: [edge.protocol],
            carried: Math.round(edge.rate * KNOWN_SECONDS) + 4,
            refused: 0,
            first: iso(KNOWN_SECONDS),
            last: iso(3),
            hours: edge.rate > 1 ? 7 : 1,
          };
        });
      const plain = edges.some((edge) => edge.from.startsWith('edge/'));
      const once = callers.filter((caller) => caller.hours === 1).length;
      const all = callers.reduce((sum, caller) => sum + caller.hours, 0);
      return {
        service: service.name,
        hosts: [`${service.name}.${namespace}.svc.cluster.local`],
        workloads: service.versions.map((version) => `${namespace}/${service.name}-${version}`),
        policy:
          plain || callers.length === 0
            ? null
            : {
                apiVersion: 'security.istio.io/v1',
                kind: 'AuthorizationPolicy',
                metadata: { name: `seen-callers-of-${service.name}`, namespace },
                spec: {
                  selector: { matchLabels: { app: service.name } },
                  action: 'ALLOW',
                  rules: [{ from: [{ source: { principals: callers.map((caller) => caller.principal) } }] }],
                },
              },
        withheld: plain
          ? [
              '3571 requests or connections came in plain text from somebody without a proxy of the mesh: no policy could name them',
            ]
          : [],
        notes: callers.length + edges.length === 0 ? ['nobody was seen calling it, which is no proof that nobody does'] : [],
        confidence: {
          level: share >= 0.95 && once === 0 ? 'medium' : 'low',
          unseen: all === 0 ? 1 : once / all,
          knownSeconds: Math.min(window.seconds, KNOWN_SECONDS),
          knownShare: share,
        },
        callers,
        refused: edges
          .filter((edge) => edge.errorRate === 1)
          .map((edge) => ({
            principal: `cluster.local/ns/${namespace}/sa/${edge.from.split('/')[1]}`,
            refused: 211,
            carried: 0,
            last: iso(4),
          })),
        claimed: [],
        plaintext: [],
      };
    });
  return { namespace, window, crowded: 0, suggestions, check: { seen: 9, errors: [], refused: [] } };
}

/** A rotation that waits for one sidecar, so that its steps are seen. */
export function trust(mesh: Mesh): TrustAnswer {
  const proxies = mesh.services
    .filter((service) => service.kind === 'service')
    .slice(0, 40)
    .flatMap((service, at) =>
      service.versions.map((version, turn): TrustAnswer['proxies'][number] => ({
        uid: `${service.namespace}/${service.name}-${version}`,
        serviceAccount: service.name,
        bundle: at === 3 ? 'behind' : 'current',
        why: null,
        leaf: {
          serial: (0x5a1e77 + at * 77 + turn).toString(16).padStart(32, '7'),
          notAfter: new Date(Date.now() + (((at * 7 + turn * 3) % 22) * 3600 + 1200) * 1000).toISOString(),
          signer: 'current',
          roots: 2,
        },
      })),
    );
  const waiting = proxies.filter((one) => one.bundle === 'behind');
  const [from, to] = ['97fdd25431050ccb'.repeat(4), '41c0ffee41c0ffee'.repeat(4)];
  const year = 365 * 86_400;
  return {
    trustDomain: 'cluster.local',
    roots: [
      { fingerprint: from, serial: '6aa82d43', notAfter: iso(-year / 12), signing: true },
      { fingerprint: to, serial: '11ab', notAfter: iso(-10 * year), signing: false },
    ],
    rootKey: 'here',
    intermediate: { fingerprint: '07323903'.repeat(8), serial: '425c', notAfter: iso(-year), crossSigned: false },
    plugged: null,
    leafLifetimeSeconds: 86_400,
    rotation: {
      stage: 'spreading',
      since: iso(12),
      detail: 'proxies are told to believe the new root beside the old one',
      waitingFor: waiting.map(({ uid }) => ({ uid, why: 'has not acknowledged the bundle yet' })),
      from,
      to,
    },
    revoked: { named: [{ serial: '7ec50c85ab6d512a', workload: 'orders/archive-v0', by: 'admin', at: iso(7200) }], listed: 3 },
    federated: [{ trustDomain: 'partner.example', roots: 1, signsTokens: true }],
    proxies,
    problems: [
      { severity: 'warning', of: 'root', text: 'the root ends in 30 days: go over to a new one with `taut trust rotate`' },
    ],
  };
}
