/** Meshes to develop against: a shop of a dozen services, and one as large as asked for. */

export interface MockService {
  namespace: string;
  name: string;
  kind: 'service' | 'gateway' | 'external' | 'workload';
  versions: string[];
  port: number;
  protocol: 'http' | 'grpc' | 'tcp';
}

export interface MockEdge {
  from: string;
  to: string;
  protocol: 'http' | 'grpc' | 'tcp';
  rate: number;
  errorRate: number;
  p50: number;
  security: 'mutual_tls' | 'plaintext' | 'unknown';
  reason?: string;
}

export interface Mesh {
  services: MockService[];
  edges: MockEdge[];
}

const service = (
  id: string,
  versions = ['v1'],
  protocol: MockService['protocol'] = 'http',
  kind: MockService['kind'] = 'service',
): MockService => {
  const [namespace = '', name = ''] = id.split('/');
  return { namespace, name, kind, versions, protocol, port: protocol === 'tcp' ? 7000 : 9080 };
};

export function shop(): Mesh {
  const edge = (from: string, to: string, rate: number, p50: number, more: Partial<MockEdge> = {}): MockEdge => ({
    from,
    to,
    protocol: 'http',
    rate,
    errorRate: 0,
    p50,
    security: 'mutual_tls',
    ...more,
  });
  return {
    services: [
      service('edge/ingress', ['v1'], 'http', 'gateway'),
      service('default/productpage'),
      service('default/details', ['v1', 'v2']),
      service('default/reviews', ['v1', 'v2', 'v3']),
      service('default/ratings', ['v1', 'v2']),
      service('default/store', ['v1'], 'tcp'),
      service('orders/cart'),
      service('orders/checkout', ['v1', 'v2']),
      service('orders/inventory', ['v1'], 'grpc'),
      service('orders/archive'),
      service('pay/payments'),
      service('pay/ledger', ['v1'], 'tcp'),
      service('external/api.bank.example', [], 'http', 'external'),
    ],
    edges: [
      edge('edge/ingress', 'default/productpage', 48, 21),
      edge('edge/ingress', 'orders/cart', 17.4, 9.2),
      edge('default/productpage', 'default/details', 48, 1.9),
      edge('default/productpage', 'default/reviews', 48, 6.4, { errorRate: 0.002, reason: 'http_5xx' }),
      edge('default/reviews', 'default/ratings', 31, 2.3, { errorRate: 0.034, reason: 'connect_failure' }),
      edge('default/ratings', 'default/store', 0, 0.8, { protocol: 'tcp' }),
      edge('default/details', 'default/ratings', 0.4, 0.9, { errorRate: 1, reason: 'authorization_denied' }),
      edge('orders/cart', 'orders/checkout', 3.1, 33),
      edge('orders/cart', 'orders/inventory', 16.8, 1.4, { protocol: 'grpc' }),
      edge('orders/checkout', 'pay/payments', 3.1, 24, { errorRate: 0.011, reason: 'timeout' }),
      edge('orders/checkout', 'orders/inventory', 3.1, 1.6, { protocol: 'grpc' }),
      edge('pay/payments', 'pay/ledger', 0, 1.2, { protocol: 'tcp' }),
      edge('pay/payments', 'external/api.bank.example', 3, 84, { security: 'plaintext' }),
    ],
  };
}

/** Deterministic dice, so that a picture can be drawn again. */
export function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const TEAMS = [
  'account',
  'ads',
  'audio',
  'billing',
  'cart',
  'catalog',
  'chat',
  'claims',
  'content',
  'credit',
  'data',
  'delivery',
  'devices',
  'fraud',
];
const MORE = [
  'geo',
  'identity',
  'insight',
  'loyalty',
  'mail',
  'media',
  'orders',
  'partner',
  'pay',
  'pricing',
  'profile',
  'promo',
  'ranking',
  'returns',
];
const REST = [
  'search',
  'seller',
  'session',
  'shipping',
  'stock',
  'support',
  'tax',
  'teller',
  'tickets',
  'video',
  'wallet',
  'warehouse',
];
const ROLES = [
  'api',
  'web',
  'core',
  'index',
  'sync',
  'worker',
  'cache',
  'gate',
  'store',
  'audit',
  'feed',
  'rules',
  'quote',
  'batch',
  'export',
  'notify',
];

export function large(services: number, edges: number): Mesh {
  const roll = dice(7);
  const teams = [...TEAMS, ...MORE, ...REST];
  const made = Array.from({ length: services }, (_, index) => {
    const team = teams[index % teams.length] ?? 'team';
    const turn = Math.floor(index / teams.length);
    const role = ROLES[turn % ROLES.length] ?? 'api';
    const name = turn < ROLES.length ? `${team}-${role}` : `${team}-${role}-${Math.floor(turn / ROLES.length) + 1}`;
    return service(`${team}/${name}`, roll() < 0.1 ? ['v1', 'v2'] : ['v1'], roll() < 0.2 ? 'grpc' : 'http');
  });
  const flows = new Map<string, MockEdge>();
  while (flows.size < edges) {
    const from = made[Math.floor(roll() * services)];
    const near = roll() < 0.72;
    const candidates = near ? made.filter((other) => other.namespace === from?.namespace) : made;
    const to = candidates[Math.floor(roll() ** 2 * candidates.length)];
    if (from === undefined || to === undefined || from === to) continue;
    const trouble = roll();
    const [source, target] = [`${from.namespace}/${from.name}`, `${to.namespace}/${to.name}`];
    flows.set(`${source}>${target}`, {
      from: source,
      to: target,
      protocol: to.protocol,
      rate: 10 ** (roll() * 3 - 0.5),
      errorRate: trouble < 0.006 ? 0.25 : trouble < 0.02 ? 0.03 : 0,
      p50: 1 + roll() * 40,
      security: roll() < 0.01 ? 'plaintext' : 'mutual_tls',
      ...(trouble < 0.02 ? { reason: 'http_5xx' } : {}),
    });
  }
  return { services: made, edges: [...flows.values()] };
}
