/** What the mesh makes of its signals, in the shapes of src/api/shapes.ts: incidents, objectives and forecasts that move with the clock. */

import type { Forecast, Incident, Objective } from '../src/api/shapes.ts';
import type { Mesh } from './topology.ts';

const now = (): number => Math.floor(Date.now() / 1000);
const began = now() - 194;

/** Ratings is slow, and its callers wait for it. */
function slow(): Incident {
  const hurt = Math.round((now() - began) * 31);
  return {
    id: `productpage-${began.toString(16)}`,
    revision: 7,
    opened: began + 6,
    began,
    closed: null,
    subject: 'default/productpage',
    verdict: 'found',
    hurt,
    state: 'open',
    users: ['default/productpage'],
    symptoms: [
      {
        node: 'default/productpage',
        signal: 'latencyP50',
        since: began + 2,
        until: null,
        baseline: 21,
        worst: 1240,
        now: 1180,
        surprise: 41.2,
      },
      {
        node: 'default/reviews',
        signal: 'latencyP50',
        since: began + 1,
        until: null,
        baseline: 6.4,
        worst: 1210,
        now: 1150,
        surprise: 38.7,
      },
      {
        node: 'default/ratings',
        signal: 'latencyP50',
        since: began,
        until: null,
        baseline: 2.3,
        worst: 1190,
        now: 1140,
        surprise: 66,
      },
      {
        node: 'default/productpage',
        signal: 'errorRatio',
        since: began + 20,
        until: began + 95,
        baseline: 0.002,
        worst: 0.061,
        now: 0.003,
        surprise: 9.4,
      },
    ],
    causes: [
      {
        place: { part: ['default/ratings', { workload: 'ratings-v2', version: 'v2' }] },
        kind: 'slow',
        share: 0.94,
        confidence: 0.91,
        evidence: [
          { kind: 'ownTime', node: 'default/ratings', perSecond: 34.1, share: 0.94, surprise: 66.3 },
          {
            kind: 'part',
            node: 'default/ratings',
            part: { workload: 'ratings-v2', version: 'v2' },
            own: 1190,
            others: 2.4,
            unit: 'milliseconds',
          },
          {
            kind: 'change',
            before: 38,
            change: {
              at: began - 38,
              nodes: ['default/ratings'],
              kind: 'configuration',
              generation: 2,
              by: 'admin with kubectl',
              objects: ['VirtualService default/reviews'],
            },
          },
          { kind: 'load', node: 'default/ratings', before: 31.2, now: 30.8 },
        ],
      },
      {
        place: { link: ['default/reviews', 'default/ratings'] },
        kind: 'network',
        share: 0.04,
        confidence: 0.06,
        evidence: [
          { kind: 'gap', source: 'default/reviews', destination: 'default/ratings', before: 0.7, now: 4.1 },
          {
            kind: 'reason',
            source: 'default/reviews',
            destination: 'default/ratings',
            reason: 'connect_failure',
            before: 0,
            now: 1.04,
          },
        ],
      },
      {
        place: { service: 'default/details' },
        kind: 'failing',
        share: 0.01,
        confidence: 0.02,
        evidence: [
          { kind: 'ownFailures', node: 'default/details', perSecond: 0.02, share: 0.01, surprise: 1.3 },
          { kind: 'well', node: 'default/details' },
        ],
      },
    ],
    timeline: [
      {
        at: began - 38,
        event: 'change',
        change: {
          at: began - 38,
          nodes: ['default/ratings'],
          kind: 'configuration',
          generation: 2,
          by: 'admin with kubectl',
          objects: ['VirtualService default/reviews'],
        },
      },
      { at: began, event: 'began' },
      { at: began, event: 'symptom', node: 'default/ratings', signal: 'latencyP50' },
      { at: began + 1, event: 'symptom', node: 'default/reviews', signal: 'latencyP50' },
      { at: began + 6, event: 'opened' },
      { at: began + 9, event: 'cause', place: { service: 'default/ratings' }, cause: 'slow', confidence: 0.62 },
      {
        at: began + 15,
        event: 'cause',
        place: { part: ['default/ratings', { workload: 'ratings-v2', version: 'v2' }] },
        cause: 'slow',
        confidence: 0.91,
      },
      { at: began + 20, event: 'symptom', node: 'default/productpage', signal: 'errorRatio' },
      { at: began + 95, event: 'relieved', node: 'default/productpage', signal: 'errorRatio' },
    ],
    story: {
      title: 'productpage is slow: ratings v2 takes 1.2 s',
      summary:
        'Users of productpage wait 1.18 s for half of their requests, 21 ms is usual. 94 % of that begins at ratings v2, which takes 1.19 s by itself; its other version takes 2.4 ms.',
      lines: [
        { text: 'Half of the requests to default/productpage take 1.18 s or more, 21 ms before, 1.24 s at worst.', evidence: [] },
        { text: 'Half of the requests to default/reviews take 1.15 s or more, 6.4 ms before, 1.21 s at worst.', evidence: [] },
        { text: 'Half of the requests to default/ratings take 1.14 s or more, 2.3 ms before, 1.19 s at worst.', evidence: [] },
        { text: '0.3 % of the requests to default/productpage fail, 0.2 % before, 6.1 % at worst.', evidence: [] },
        {
          text: '1. version v2 of default/ratings (ratings-v2) is slow: that explains 94 % of the hurt; causes that looked like this were right 91 times in 100.',
          evidence: ['0.0', '0.1', '0.2', '0.3'],
        },
        {
          text: 'default/ratings adds 34.1 request-seconds per second by itself, what it waits for taken off: 94 % of the hurt.',
          evidence: ['0.0'],
        },
        { text: 'ratings-v2 (version v2) of default/ratings has 1.19 s, the others of it 2.4 ms.', evidence: ['0.1'] },
        {
          text: 'admin with kubectl changed VirtualService default/reviews (generation 2) 38 s before it began.',
          evidence: ['0.2'],
        },
        { text: 'default/ratings gets 30.8 requests per second, 31.2 before.', evidence: ['0.3'] },
        {
          text: '2. the network between default/reviews and default/ratings is bad: that explains 4 % of the hurt; causes that looked like this were right 6 times in 100.',
          evidence: ['1.0', '1.1'],
        },
        {
          text: 'default/reviews waits 4.1 ms longer for default/ratings than that one takes, 0.7 ms before.',
          evidence: ['1.0'],
        },
        {
          text: '1.04 requests per second from default/reviews to default/ratings end with connect_failure, 0 before.',
          evidence: ['1.1'],
        },
        { text: '3. default/details fails requests: that explains 1 % of the hurt.', evidence: ['2.0', '2.1'] },
        { text: '0.02 failures per second begin at default/details: 1 % of the hurt.', evidence: ['2.0'] },
        { text: 'default/details is as well as ever: it is not that one.', evidence: ['2.1'] },
        { text: 'Next: `taut changes 2` shows what was changed, `taut rollback 2` takes it back', evidence: [] },
        { text: "Next: `taut profile default/ratings-v2` shows where its proxy's time goes", evidence: [] },
        { text: 'Next: `taut edges --service ratings.default` shows its calls now', evidence: [] },
      ],
    },
  };
}

function past(at: number, lasted: number, subject: string, story: Incident['story'], rest: Partial<Incident>): Incident {
  return {
    id: `${subject.split('/')[1]}-${at.toString(16)}`,
    revision: 12,
    opened: at + 8,
    began: at,
    closed: at + lasted,
    subject,
    verdict: 'noCause',
    hurt: lasted * 4,
    state: 'closed',
    users: [subject],
    symptoms: [
      {
        node: subject,
        signal: 'errorRatio',
        since: at,
        until: at + lasted,
        baseline: 0.001,
        worst: 0.44,
        now: 0.001,
        surprise: 22,
      },
    ],
    causes: [],
    timeline: [
      { at, event: 'began' },
      { at: at + 8, event: 'opened' },
      { at: at + lasted, event: 'closed' },
    ],
    story,
    ...rest,
  };
}

const CLOSED: Incident[] = [
  past(
    began - 1900,
    310,
    'orders/checkout',
    {
      title: 'checkout fails: api.bank.example does not answer',
      summary:
        'For 5 min 44 % of the requests to checkout failed. payments could not reach api.bank.example, which is outside the mesh.',
      lines: [{ text: 'payments → api.bank.example ended with connect failure 3.2 times a second.', evidence: ['0.0'] }],
    },
    {
      verdict: 'outsideMesh',
      causes: [
        {
          place: { outside: 'external/api.bank.example' },
          kind: 'unreachable',
          share: 0.98,
          confidence: 0.88,
          evidence: [
            {
              kind: 'reason',
              source: 'pay/payments',
              destination: 'external/api.bank.example',
              reason: 'connect_failure',
              before: 0,
              now: 3.2,
            },
          ],
        },
      ],
    },
  ),
  past(
    began - 9400,
    95,
    'orders/cart',
    {
      title: 'cart fails, and nothing in the mesh explains it',
      summary: 'For 95 s 44 % of the requests to cart failed.',
      lines: [],
    },
    {},
  ),
];

export class Insight {
  constructor(private readonly mesh: Mesh) {}

  private all(): Incident[] {
    return this.mesh.services.some((service) => service.name === 'ratings') ? [slow(), ...CLOSED] : [];
  }

  incidents(state: string): { at: number; incidents: Incident[] } {
    return { at: now(), incidents: this.all().filter((one) => state === 'all' || one.state === (state === '' ? 'open' : state)) };
  }

  incident(id: string): Incident | null {
    return this.all().find((one) => one.id === id) ?? null;
  }

  objectives(): { objectives: Objective[] } {
    if (!this.mesh.services.some((service) => service.name === 'ratings')) return { objectives: [] };
    const windows = ['5m', '1h', '30m', '6h', '3d'];
    const made = (name: string, service: string, rates: number[], rest: Partial<Objective>): Objective => ({
      namespace: service.split('/')[0] ?? '',
      name,
      service,
      kind: 'availability',
      target: 0.999,
      thresholdMs: null,
      windowDays: 30,
      budgetLeft: 1,
      burn: windows.map((window, index) => ({ window, rate: rates[index] ?? null })),
      alert: 'none',
      exhaustedIn: null,
      requests: 1_400_000,
      bad: 0,
      ...rest,
    });
    return {
      objectives: [
        made('productpage', 'default/productpage', [0.4, 0.6, 0.5, 0.7, 0.62], { budgetLeft: 0.71, bad: 406 }),
        made('productpage-fast', 'default/productpage', [41, 15.3, 22, 6.8, 1.9], {
          kind: 'latency',
          target: 0.99,
          thresholdMs: 250,
          budgetLeft: 0.083,
          alert: 'page',
          exhaustedIn: 3900,
          bad: 12_838,
        }),
        made('checkout', 'orders/checkout', [1.2, 1.4, 1.1, 1.3, 1.6], {
          target: 0.9995,
          windowDays: 7,
          budgetLeft: 0.34,
          alert: 'ticket',
          exhaustedIn: 140_000,
          bad: 231,
          requests: 700_000,
        }),
        made('payments', 'pay/payments', [0, 0, 0, 0, 0.3], { budgetLeft: -0.12, bad: 1568 }),
        made('archive', 'orders/archive', [], { requests: 0 }),
      ],
    };
  }

  forecast(namespace: string, name: string): Forecast {
    const id = `${namespace}/${name}`;
    const load = this.mesh.edges.filter((edge) => edge.to === id).reduce((sum, edge) => sum + edge.rate, 0);
    const at = Math.floor(now() / 60) * 60;
    const said = (time: number): number => load * (1 + 0.25 * Math.sin(time / 2900));
    const came = (time: number): number => said(time) * (1 + 0.07 * Math.sin(time / 61) + 0.05 * Math.sin(time / 17));
    const minutes = (from: number, to: number): number[] =>
      Array.from({ length: to - from }, (_, index) => at + (from + index) * 60);
    return {
      service: id,
      at,
      step: 60,
      history: minutes(-180, 1).map((time) => ({ at: time, rate: came(time) })),
      forecast: minutes(1, 61).map((time) => {
        const [rate, far] = [said(time), Math.sqrt((time - at) / 60)];
        const [narrow, wide] = [rate * (0.05 + 0.012 * far), rate * (0.09 + 0.02 * far)];
        return { at: time, rate, low80: rate - narrow, high80: rate + narrow, low95: rate - wide, high95: rate + wide };
      }),
      experts: [
        { name: 'day-ago shape', weight: 0.46 },
        { name: 'autoregression', weight: 0.31 },
        { name: 'Holt-Winters', weight: 0.14 },
        { name: 'last value', weight: 0.09 },
      ],
      past: minutes(-180, 1).map((time) => {
        const predicted = said(time - 400);
        return { at: time, predicted, actual: came(time), low95: predicted * 0.86, high95: predicted * 1.14 };
      }),
      coverage95: 0.947,
      wape: 0.061,
      ready: load > 0,
    };
  }
}
