/** Talks to the control plane that served this page: one way to ask, one kind of error. */

export class Refusal extends Error {
  constructor(
    /** 0 when nobody answered. */
    readonly status: number,
    message: string,
    /** What else the answer said. */
    readonly body: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

const PATIENCE_MS = 15_000;
/** The server refuses state-changing requests without it: a form of another site cannot send it. */
const MARK = { 'x-requested-with': 'taut-dashboard' };

export interface Ask {
  method?: string;
  body?: unknown;
  /** Sent as it is, with this content type; `body` is JSON otherwise. */
  type?: string;
  signal?: AbortSignal;
}

export async function ask<T>(path: string, how: Ask = {}): Promise<T> {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const raw = how.type !== undefined;
  const init: RequestInit = {
    method: how.method ?? 'GET',
    credentials: 'same-origin',
    headers: {
      accept: 'application/json',
      ...MARK,
      ...(how.body === undefined ? {} : { 'content-type': how.type ?? 'application/json' }),
    },
    signal: how.signal === undefined ? limit : AbortSignal.any([limit, how.signal]),
  };
  if (how.body !== undefined) init.body = raw ? String(how.body) : JSON.stringify(how.body);
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (fault) {
    if (how.signal?.aborted === true) throw fault;
    throw new Refusal(0, limit.aborted ? `no answer within ${PATIENCE_MS / 1000} s` : 'the control plane cannot be reached');
  }
  const text = await answer.text();
  const value = parse(text);
  if (answer.ok) return value as T;
  throw new Refusal(answer.status, reason(value, text, answer.status), record(value));
}

function parse(text: string): unknown {
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    return text;
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** Ours say `error`, the Kubernetes API says `message`. */
function reason(value: unknown, text: string, status: number): string {
  const { error, message } = record(value);
  for (const said of [error, message]) if (typeof said === 'string' && said !== '') return said;
  return text === '' || text.startsWith('<') ? `the control plane answered ${status}` : text.slice(0, 400);
}

export function query(path: string, parameters: Record<string, string | number | boolean | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return text === '' ? path : `${path}?${text}`;
}
