/** The JSON that the control plane answers with. One file, so that a change of a shape has one place. */

export type Health = 'ok' | 'degraded' | 'failing' | 'idle';
export type Security = 'mutual_tls' | 'plaintext' | 'unknown' | 'mixed';
export type Protocol = 'http' | 'grpc' | 'tcp';

export interface ObjectRef {
  kind: string;
  namespace: string;
  name: string;
}

/** Where a node of the configuration comes from. */
export interface Origin {
  object: ObjectRef;
  generation: number;
  path: string;
  location: { file: string; line: number; column: number } | null;
}

export interface Gap {
  from: number | string;
  to: number | string;
  why: string;
}

export interface Graph {
  at: number | string;
  windowSeconds: number;
  complete: boolean;
  gaps: Gap[];
  nodes: GraphNode[];
  edges: GraphEdge[];
}

export interface GraphNode {
  id: string;
  kind: 'service' | 'workload' | 'external' | 'gateway';
  namespace: string;
  name: string;
  versions: GraphVersion[];
  health: Health;
}

export interface GraphVersion {
  version: string;
  workload: string;
  endpoints: number;
  ready: number;
  rate: number;
  errorRate: number;
}

export interface GraphEdge {
  from: string;
  to: string;
  protocol: Protocol;
  rate: number;
  errorRate: number;
  p50: number | null;
  p99: number | null;
  security: Security;
  split: { version: string; share: number }[];
  connections?: number;
  failures?: Record<string, number>;
}

/** One point of a series: a measurement, or the absence of one. */
export type Point = { at: number } & (
  | { gap: true }
  | {
      gap?: false;
      rate: number;
      errorRate: number;
      p50: number | null;
      p90: number | null;
      p99: number | null;
      bytesPerSecond: number;
      inFlight: number;
      connections: number;
    }
);

export interface SeriesAnswer {
  step: number | string;
  series: { key: Record<string, unknown>; points: Point[] }[];
}

export interface ServiceRow {
  namespace: string;
  name: string;
  host: string;
  kind: string;
  versions: string[];
  endpoints: number;
  ready: number;
  rate: number;
  errorRate: number;
  p99: number | null;
  health: Health;
}

export interface Rule {
  origin: Origin;
  summary: string;
  live?: Liveness;
}

export interface Endpoint {
  workload: string;
  address: string;
  version: string;
  locality: string;
  health: string;
  ejected: boolean | string;
  /** Its share of what the service took. */
  load: number | null;
  inFlight?: number;
}

export interface Caller {
  namespace: string;
  workload: string;
  version: string;
  principal: string;
  security: Security;
  rate: number;
  errorRate: number;
  p99: number | null;
}

export interface Failure {
  reason: string;
  side: string;
  count: number;
  last: number | string | null;
  from?: string;
  exchanges: { requestId: string; at: number | string; from: string; method: string; path: string; status: number | string }[];
}

export interface ServiceDetail {
  namespace: string;
  name: string;
  host: string;
  kind: string;
  health: Health;
  ports: { port: number; name: string; protocol: string }[];
  endpoints: Endpoint[];
  routes: Rule[];
  policies: Rule[];
  callers: Caller[];
  failures: Failure[];
}

export interface Flow {
  from: string;
  to: string;
  security: Security;
  allowedBy: Origin | null;
  deniedBy: Origin | null;
  observed: { requests: number; refused: number } | null;
}

export interface Certificate {
  workload: string;
  identity: string | null;
  notAfter: string | null;
  serial: string | number | null;
}

export interface SecurityAnswer {
  flows: Flow[];
  plaintext: { from: string; to: string; requests: number }[];
  policies: { origin: Origin; kind: string; summary: string }[];
  certificates: Certificate[];
  authority: { trustDomain: string; rootNotAfter: string | null; rotation: { state: string; detail: string } };
}

export interface Liveness {
  accepted: boolean;
  live: boolean;
  generation: number;
  have: number;
  need: number;
  lagging: string[];
  refused: Record<string, string>;
  message: string;
}

export interface Problem {
  severity: string;
  code: string;
  message: string;
  help: string | null;
  object: ObjectRef | null;
  path: string;
  location: { file: string; line: number; column: number } | null;
  text: string;
}

export interface Proxy {
  uid: string;
  namespace: string;
  name: string;
  service: string;
  serviceAccount: string;
  proxyVersion: string;
  readiness: string;
  since: string;
  lagging: number;
}

export interface Status {
  version: number;
  controlPlaneVersion: string;
  trustDomain: string;
  proxies: Proxy[];
  resources: (ObjectRef & { live: Liveness })[];
  problems: Problem[];
  away: string[];
  starved: string[];
}

export interface ChangeRow {
  generation: number;
  at: string;
  by: { user?: string | null; manager?: string | null; file?: string | null };
  /** What was done in words, as for a rollback. */
  note?: string | null;
  objects: (ObjectRef & { verb: string })[];
  live: { total: number; live: number; lagging: string[]; refused: Record<string, string>; superseded?: number };
}

export interface ChangeDetail extends Omit<ChangeRow, 'objects'> {
  objects: (ObjectRef & { verb: string; before: string | null; after: string | null; diff: string })[];
}

export interface Planned {
  problems: { line: number | null; column: number | null; message: string; hint: string | null; severity?: string }[];
  changes: (ObjectRef & { verb: string; diff: string })[];
  flows: { from: string; to: string; before: string; after: string }[];
  /** How many flows that were seen it was tried on. */
  seen?: number;
}

export type Role = 'viewer' | 'operator' | 'admin';

export interface Session {
  user: string;
  role: Role;
  methods: string[];
  version: string;
}

export interface Step {
  mark: string;
  text: string;
  origin: Origin | null;
}

export interface Explanation {
  outcome: string;
  steps: Step[];
}

export interface Hypothetical {
  from: string;
  to: string;
  outbound: Explanation;
  inbound: { workload: string; explanation: Explanation } | null;
}

/** What happened, from the proxies that carried it. */
export interface Happened {
  requestId: string;
  asked: number;
  halves: { proxy: string; answer: { explanation?: Explanation; record?: ExchangeRecord } }[];
}

export interface ExchangeRecord {
  method: string;
  path: string;
  started: string;
  status: number | null;
  duration_us: number;
  edge: { reporter: string };
  attempts: { address: string; endpoint: string; duration_us: number; result: string }[];
  failure: { reason: string; side: string; detail: string; retry_safe: boolean; origin: Origin | null } | null;
}
