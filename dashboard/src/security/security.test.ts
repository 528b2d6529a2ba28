import { describe, expect, it } from 'vitest';
import type { Graph, Rotation, StrictFlow, StrictReport, SuggestAnswer, Suggestion } from '../api/shapes.ts';
import { allowText, strictText } from '../configuration/proposals.ts';
import { account, ordered, reasons, stateOf, unseen } from './allow.ts';
import { denial, meaning } from './denial.ts';
import { named, partyName } from '../text/party.ts';
import { steps } from './rotation.ts';
import { advice, byNamespace, carriedBy, command, coverage, exceptionOf, judgement, sinceOf, stepWords } from './strict.ts';

const DAY = 86_400;

function flow(of: Partial<StrictFlow>): StrictFlow {
  return {
    from: null,
    to: 'default/page-v1',
    host: 'page.default.svc.cluster.local',
    service: 'page',
    protocols: ['http'],
    carried: 10,
    first: '2026-01-01T00:00:00Z',
    last: '2026-01-01T00:10:00Z',
    breaks: true,
    after: 'refused with 403 mutual_tls_required',
    ...of,
  };
}

const STRICT = {
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'default', namespace: 'default' },
  spec: { mtls: { mode: 'STRICT' } },
};
const EXCEPTED = {
  ...STRICT,
  metadata: { name: 'plain-text-to-page', namespace: 'default' },
  spec: { selector: { matchLabels: { app: 'page' } }, mtls: { mode: 'PERMISSIVE' } },
};

function report(of: Partial<StrictReport>): StrictReport {
  const window = { from: '', to: '', seconds: DAY, knownFrom: '' };
  const safe = { knownSeconds: DAY, plaintext: [], breaks: 0, errors: [], withoutProxy: [], narrower: [] };
  return { window, ...safe, objects: [STRICT], changes: true, safe: true, ...of };
}

describe('a demand for mutual TLS', () => {
  it('is judged by what breaks, then by what is known', () => {
    const told = (of: Partial<StrictReport>): [string, string] => {
      const { tone, title } = judgement(report(of));
      return [tone, title];
    };
    expect(told({})).toEqual(['ok', 'No: nothing that was seen would break']);
    expect(told({ breaks: 2 })).toEqual(['failing', 'Yes: 2 flows would break']);
    expect(told({ errors: ['too many'], breaks: 2 })).toEqual(['failing', 'It cannot be said']);
    expect(told({ knownSeconds: 0 })).toEqual(['degraded', 'Nobody knows yet']);
    expect(told({ knownSeconds: 600 })[0]).toBe('degraded');
    expect(told({ changes: false, knownSeconds: 600 })).toEqual(['ok', 'It holds already']);
  });

  it('tells flows by namespace and workload, what breaks first', () => {
    const all = byNamespace([
      flow({ to: 'a/calm-v1', breaks: false }),
      flow({ to: 'b/page-v1' }),
      flow({ to: 'b/calm-v1', breaks: false }),
      flow({ to: 'b/page-v1', from: 'b/cart-v1' }),
    ]);
    expect(all.map((one) => [one.namespace, one.breaks])).toEqual([
      ['b', 2],
      ['a', 0],
    ]);
    expect(all[0]?.receivers.map((one) => [one.workload, one.flows.length, one.breaks])).toEqual([
      ['b/page-v1', 2, 2],
      ['b/calm-v1', 1, 0],
    ]);
  });

  it('says what to do about each', () => {
    expect(advice(flow({}), false).command).toContain('taut run');
    const named = advice(flow({ from: 'default/cart-v1' }), false);
    expect(named.text).toContain('DestinationRule');
    expect(named.command).toBe('taut why --from default/cart-v1 --to page.default');
    expect(advice(flow({ breaks: false }), true).text).toContain('Left out');
    expect(advice(flow({ breaks: false }), false).text).toContain('narrower policy');
    expect(exceptionOf(flow({}))).toBe('page.default');
  });

  it('names ports where they are known', () => {
    expect(carriedBy(flow({}))).toBe('http');
    expect(carriedBy(flow({ protocols: ['http', 'grpc'], ports: [80, 90] }))).toBe('http, grpc to 80 or 90');
  });

  it('is asked the same way in a terminal', () => {
    expect(command('', '1d', [])).toBe('taut trust strict --dry-run');
    expect(command('shop', '7d', ['a.shop', 'b.shop'])).toBe(
      'taut trust strict --dry-run -n shop --since 7d --except a.shop --except b.shop',
    );
    expect([sinceOf('7d'), sinceOf('1y'), sinceOf(undefined)]).toEqual(['7d', '1d', '1d']);
  });

  it('becomes text, what is excepted before what demands', () => {
    expect(stepWords(STRICT)).toEqual({ what: 'Plain text is refused', where: 'in all of namespace default' });
    expect(stepWords({ ...STRICT, metadata: { name: 'default', namespace: 'istio-system' } }).where).toBe('in the whole mesh');
    const text = strictText(report({ objects: [EXCEPTED, STRICT], knownSeconds: 60 }));
    expect(text.indexOf('mode: PERMISSIVE')).toBeGreaterThan(0);
    expect(text.indexOf('mode: PERMISSIVE')).toBeLessThan(text.indexOf('mode: STRICT'));
    expect(text.split('---\n')).toHaveLength(2);
    expect(text).toContain('# 1 min of 1 d are known');
    expect(coverage(DAY, DAY)).toBe('all of 1 d is known');
  });
});

function suggestion(of: Partial<Suggestion>): Suggestion {
  return {
    service: 'ratings',
    hosts: ['ratings.default.svc.cluster.local'],
    workloads: ['default/ratings-v1'],
    policy: { ...STRICT, kind: 'AuthorizationPolicy', spec: { action: 'ALLOW' } },
    withheld: [],
    notes: [],
    confidence: { level: 'low', unseen: 0.5, knownSeconds: 60, knownShare: 0 },
    callers: [
      {
        principal: 'cluster.local/ns/default/sa/reviews',
        workloads: ['default/reviews-v2'],
        ports: [9080],
        protocols: ['http'],
        carried: 33,
        refused: 0,
        first: 'A',
        last: 'B',
        hours: 2,
      },
    ],
    refused: [],
    claimed: [],
    plaintext: [],
    ...of,
  };
}

describe('policies from what was seen', () => {
  it('come first where they can be written', () => {
    const nobody = suggestion({ service: 'a', policy: null, callers: [] });
    const plain = suggestion({ service: 'b', policy: null, withheld: ['plain text'] });
    expect(ordered([nobody, plain, suggestion({})]).map(stateOf)).toEqual(['written', 'withheld', 'nobody']);
  });

  it('name callers as their neighbours do', () => {
    expect(account('cluster.local/ns/default/sa/reviews', 'default')).toBe('reviews');
    expect(account('cluster.local/ns/pay/sa/cart', 'default')).toBe('cart in pay');
    expect(account('spiffe://else/where', 'default')).toBe('spiffe://else/where');
  });

  it('say why they can be relied on no further', () => {
    const of = (confidence: Suggestion['confidence']): string => reasons(suggestion({ confidence }));
    expect(of({ level: 'low', unseen: 0, knownSeconds: 3600, knownShare: 0.04 })).toMatch(/only 4 % of that time is known$/);
    expect(of({ level: 'low', unseen: 0.5, knownSeconds: DAY, knownShare: 1 })).toContain('50 %');
    expect(of({ level: 'low', unseen: 0, knownSeconds: 3600, knownShare: 1 })).toContain('less than a day is known');
    expect(of({ level: 'medium', unseen: 0.04, knownSeconds: DAY, knownShare: 1 })).toContain('4 %');
  });

  it('say what may lack', () => {
    expect(unseen(suggestion({}))).toContain('50 %');
    expect(unseen(suggestion({ callers: [] }))).toBe('no caller was seen');
    const once = { level: 'low', unseen: 1, knownSeconds: 60, knownShare: 0 } as const;
    expect(unseen(suggestion({ confidence: once }))).toContain('single hour');
  });

  it('are text with what each line rests on, without those that cannot be written', () => {
    const claimed = [{ principal: 'cluster.local/ns/x/sa/y', refused: 0, carried: 3, last: 'B' }];
    const answer: SuggestAnswer = {
      namespace: 'default',
      window: { from: '', to: '', seconds: DAY, knownFrom: '' },
      crowded: 0,
      suggestions: [suggestion({ claimed }), suggestion({ policy: null, withheld: ['plain text'] }), suggestion({})],
      check: { seen: 1, errors: [], refused: [] },
    };
    const text = allowText(answer);
    expect(text.match(/kind: AuthorizationPolicy/g)).toHaveLength(2);
    expect(text).toContain('# cluster.local/ns/default/sa/reviews (default/reviews-v2): 33 calls to 9080, in 2 h, A to B');
    expect(text).toContain('# NOT LET IN: cluster.local/ns/x/sa/y');
    expect(allowText({ ...answer, suggestions: [] })).toMatch(/^# .*no policy can be written/);
  });
});

describe('the code that a refused client was shown', () => {
  it('is read from whatever is pasted', () => {
    const id = '5f0c2a1e9b7d4c3fa0e1d2c3b4a59687';
    for (const [pasted, reason, requestId] of [
      [`client authorization_denied (request ${id})`, 'authorization_denied', id],
      [`x-taut-reason: mutual_tls_required\nx-request-id: ${id}`, 'mutual_tls_required', id],
      [`  ${id} `, null, id],
      ['my-own-id', null, 'my-own-id'],
      ['authorization_denied', 'authorization_denied', null],
      ['', null, null],
      ['HTTP/1.1 403 Forbidden', null, null],
      ['it said rbac, and no more', null, null],
    ] as const)
      expect(denial(pasted), pasted).toEqual({ reason, requestId });
  });

  it('has a meaning, also one that is new here', () => {
    expect(meaning('mutual_tls_required')).toContain('plain text');
    expect(meaning('something_else')).toBe('something else');
  });

  it('is not about somebody without a name', () => {
    expect([partyName('unknown'), partyName('default/reviews')]).toEqual(['no proxy', 'default/reviews']);
    const node = (id: string, name: string): Graph['nodes'][number] => ({
      id,
      name,
      kind: 'workload',
      namespace: '',
      versions: [],
      health: 'ok',
    });
    const graph: Graph = {
      at: 1,
      windowSeconds: 30,
      complete: true,
      gaps: [],
      nodes: [node('unknown', 'unknown'), node('a/b', 'b')],
      edges: [],
    };
    expect(named(graph).nodes.map((one) => [one.id, one.name])).toEqual([
      ['unknown', 'no proxy'],
      ['a/b', 'b'],
    ]);
  });
});

describe('a rotation of the root', () => {
  const at = (stage: Rotation['stage']): string[] =>
    steps({ stage, since: '', detail: '', waitingFor: [], from: '', to: '' }).map((step) => step.state);
  it('has steps that are over, run, or lie ahead', () => {
    expect(at('spreading')).toEqual(['now', 'ahead', 'ahead']);
    expect(at('renewing')).toEqual(['over', 'now', 'ahead']);
    expect(at('retiring')).toEqual(['over', 'over', 'now']);
    expect(at('returning')).toEqual(['now', 'ahead']);
  });
});
