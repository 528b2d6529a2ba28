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
  flows: PlannedFlow[];
  /** How many flows that were seen it was tried on. */
  seen?: number;
  /** There were more flows than it was tried on. */
  truncated?: boolean;
}

/** A flow that was seen, and would go another way. */
export interface PlannedFlow {
  from: string;
  to: string;
  before: string;
  after: string;
  request?: string;
  requests?: number | null;
  /** It was let in and would not be. */
  refused?: boolean;
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

/** `namespace/name` of a service, or of a workload that serves none; `outside`: whoever no proxy of the mesh stands beside. */
export type NodeId = string;

export interface Part {
  workload: string;
  version: string;
}

export type Signal = 'errorRatio' | 'latencyP50' | 'latencyP99' | 'rate' | 'saturation' | 'covered' | { objective: string };

export type CausePlace = { service: NodeId } | { part: [NodeId, Part] } | { link: [NodeId, NodeId] } | { outside: NodeId };

export type CauseKind = 'slow' | 'failing' | 'unreachable' | 'network' | 'refused' | 'saturated' | 'surge' | 'quiet';

export type MeshChange = { at: number; nodes: NodeId[] } & (
  | { kind: 'configuration'; generation: number; by: string; objects: string[] }
  | { kind: 'version'; version: string }
  | { kind: 'endpoints'; before: number; after: number }
  | { kind: 'certificate'; detail: string }
);

/** What a sentence about a cause rests on: figures of the incident's window against the time before. */
export type Evidence =
  | { kind: 'ownTime' | 'ownFailures'; node: NodeId; perSecond: number; share: number; surprise: number }
  | { kind: 'gap'; source: NodeId; destination: NodeId; before: number; now: number }
  | { kind: 'reason'; source: NodeId; destination: NodeId; reason: string; before: number; now: number }
  | { kind: 'covered'; source: NodeId; destination: NodeId; before: number; now: number; felt: number }
  | { kind: 'part'; node: NodeId; part: Part; own: number; others: number; unit: 'share' | 'milliseconds' | 'perSecond' }
  | { kind: 'pressure'; node: NodeId; what: string; before: number; now: number }
  | { kind: 'load'; node: NodeId; before: number; now: number }
  | { kind: 'change'; change: MeshChange; before: number }
  | { kind: 'well'; node: NodeId };

export interface Cause {
  place: CausePlace;
  kind: CauseKind;
  /** Of the hurt, 0 to 1. */
  share: number;
  confidence: number;
  evidence: Evidence[];
}

export interface Symptom {
  node: NodeId;
  signal: Signal;
  since: number;
  until: number | null;
  baseline: number;
  worst: number;
  now: number;
  /** -log10 of how probable the worst was, had nothing changed. */
  surprise: number;
}

export type TimelineEntry = { at: number } & (
  | { event: 'began' | 'opened' | 'closed' }
  | { event: 'symptom' | 'relieved'; node: NodeId; signal: Signal }
  | { event: 'cause'; place: CausePlace; cause: CauseKind; confidence: number }
  | { event: 'change'; change: MeshChange }
);

export interface Incident {
  id: string;
  revision: number;
  opened: number;
  began: number;
  closed: number | null;
  /** Where users are hurt first. */
  subject: NodeId;
  symptoms: Symptom[];
  verdict: 'found' | 'outsideMesh' | 'noCause' | 'tooEarly';
  causes: Cause[];
  timeline: TimelineEntry[];
  /** Requests that failed or were slower than usual. */
  hurt: number;
  state: 'open' | 'closed';
  /** Services called from outside the mesh that are ill. Not said by older control planes: then users are hurt once requests are. */
  users?: NodeId[];
  story: { title: string; summary: string; lines: StoryLine[] };
}

export interface StoryLine {
  text: string;
  /** Cause and evidence by index: `0.1`. */
  evidence: string[];
}

export interface IncidentsAnswer {
  at: number;
  incidents: Incident[];
}

export interface Objective {
  namespace: string;
  name: string;
  /** `namespace/name` */
  service: NodeId;
  kind: 'availability' | 'latency';
  /** Share of requests that must be good, 0 to 1. */
  target: number;
  thresholdMs: number | null;
  windowDays: number;
  /** 1: untouched; below 0: overdrawn. */
  budgetLeft: number;
  burn: { window: string; rate: number | null }[];
  alert: 'none' | 'ticket' | 'page';
  /** Seconds. */
  exhaustedIn: number | null;
  requests: number;
  bad: number;
}

export interface Forecast {
  service: string;
  at: number;
  step: number | string;
  history: { at: number; rate: number | null }[];
  forecast: { at: number; rate: number; low80: number; high80: number; low95: number; high95: number }[];
  experts: { name: string; weight: number }[];
  past: { at: number; predicted: number; actual: number | null; low95: number; high95: number }[];
  coverage95: number | null;
  /** Weighted absolute percentage error: what was wrong, as a share of what came. */
  wape: number | null;
  ready: boolean;
  capacity?: Capacity | { unknown: string };
  certificates?: {
    workloads: number;
    first: { workload: string; ends: number; renewedFrom: number; alarm: 'warning' | 'error' | null } | null;
  };
}

/** What the application of the workload that is full first can work on at a time, and how much of it is used. */
export interface Capacity {
  workload: string;
  limit: number;
  /** When a sidecar held it to that last. */
  limitAt: number;
  inForce: boolean;
  /** Of the service's requests that come to it. */
  share: number;
  latencyMs: number;
  inFlight: number;
  headroom: number;
  forecast: { horizonSeconds: number; inFlight: number; high80: number; high95: number; headroom: number; scale: number }[];
  reachedIn: number | null;
  mayBeReachedIn: number | null;
}

/** A stretch of time, and since when anything is known of it. */
export interface Looked {
  from: string;
  to: string;
  seconds: number;
  knownFrom: string;
}

/** Calls in plain text from one caller to one workload, for one service. */
export interface PlainFlow {
  /** `namespace/name` of a workload whose own proxy tells of it; `null`: nobody with a proxy. */
  from: string | null;
  /** `namespace/name` */
  to: string;
  host: string;
  service: string;
  protocols: Protocol[];
  /** Ports of the workload that it may have come to. */
  ports?: number[];
  carried: number;
  first: string;
  last: string;
}

/** The same, held against a demand for mutual TLS. */
export interface StrictFlow extends PlainFlow {
  breaks: boolean;
  /** What it would meet, when it breaks. */
  after: string | null;
}

/** An object as the resource API has it. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string };
  spec: Record<string, unknown>;
}

export interface StrictReport {
  window: Looked;
  knownSeconds: number;
  plaintext: StrictFlow[];
  breaks: number;
  errors: string[];
  /** Workloads at which nothing refuses plain text. */
  withoutProxy: string[];
  /** Policies that go on taking plain text at a part of it. */
  narrower: string[];
  /** What demands it: each must be live everywhere before the next. */
  objects: ApiObject[];
  /** Whether the objects differ from what is stored. */
  changes: boolean;
  safe: boolean;
}

export type Confidence = 'low' | 'medium' | 'high';

export interface SeenCaller {
  principal: string;
  workloads: string[];
  ports: number[];
  protocols: Protocol[];
  carried: number;
  refused: number;
  first: string;
  last: string;
  /** Hours in which it was seen. */
  hours: number;
}

export interface Suggestion {
  service: string;
  hosts: string[];
  workloads: string[];
  policy: ApiObject | null;
  /** Why there is no policy though there were calls. */
  withheld: string[];
  notes: string[];
  /** `unseen`: of callers' hours, the share that may be of callers that were not seen; 0 to 1. */
  confidence: { level: Confidence; unseen: number; knownSeconds: number; knownShare: number };
  callers: SeenCaller[];
  /** Of whom policies refused everything. */
  refused: { principal: string; refused: number; carried: number; last: string }[];
  /** Who says that it called, and was let in by no proxy of the service. */
  claimed: { principal: string; refused: number; carried: number; last: string }[];
  plaintext: PlainFlow[];
}

export interface SuggestAnswer {
  namespace: string;
  window: Looked;
  /** Requests of callers that found no room to be told apart. */
  crowded: number;
  suggestions: Suggestion[];
  check: { seen: number; errors: string[]; refused: PlannedFlow[] };
}

export interface TrustAnswer {
  trustDomain: string;
  roots: { fingerprint: string; serial: string; notAfter: string | null; signing: boolean }[];
  rootKey: 'here' | 'offline';
  intermediate: { fingerprint: string; serial: string; notAfter: string; crossSigned: boolean };
  /** A directory that somebody else's authority is read from. */
  plugged: { directory: string; inForce: boolean; why: string | null } | null;
  leafLifetimeSeconds: number;
  rotation: Rotation | null;
  revoked: { named: Revoked[]; listed: number };
  federated: { trustDomain: string; roots: number; signsTokens: boolean }[];
  proxies: TrustedProxy[];
  problems: { severity: string; of: string; text: string }[];
}

export interface Rotation {
  stage: 'spreading' | 'renewing' | 'returning' | 'retiring';
  since: string;
  detail: string;
  waitingFor: { uid: string; why: string }[];
  from: string;
  to: string;
}

export interface Revoked {
  serial: string;
  workload?: string;
  by: string;
  at: string;
}

export interface TrustedProxy {
  uid: string;
  serviceAccount: string;
  bundle: 'current' | 'behind' | 'refused';
  why: string | null;
  leaf: { serial: string; notAfter: string | null; signer: 'current' | 'other'; roots: number } | null;
}
