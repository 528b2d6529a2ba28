/** Beginnings for new objects: what people want most often, ready to be changed. */

/** The title of the example to which the page of objectives leads. */
export const OBJECTIVE = 'A service level objective';

export const EXAMPLES: { title: string; text: string }[] = [
  {
    title: 'Canary: 10 % to v2',
    text: `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: default
spec:
  host: reviews
  subsets:
    - name: v1
      labels:
        version: v1
    - name: v2
      labels:
        version: v2
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
    - reviews
  http:
    - route:
        - destination:
            host: reviews
            subset: v1
          weight: 90
        - destination:
            host: reviews
            subset: v2
          weight: 10
`,
  },
  {
    title: 'Only these may call',
    text: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ratings-callers
  namespace: default
spec:
  selector:
    matchLabels:
      app: ratings
  action: ALLOW
  rules:
    - from:
        - source:
            principals:
              - cluster.local/ns/default/sa/bookinfo-reviews
`,
  },
  {
    title: 'Proof from everybody',
    text: `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: default
spec:
  mtls:
    mode: STRICT
`,
  },
  {
    title: 'Timeout and retries',
    text: `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ratings
  namespace: default
spec:
  hosts:
    - ratings
  http:
    - timeout: 2s
      retries:
        attempts: 2
        perTryTimeout: 800ms
        retryOn: connect-failure,refused-stream,503
      route:
        - destination:
            host: ratings
`,
  },
  {
    title: 'An external service',
    text: `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: bank
  namespace: default
spec:
  hosts:
    - api.bank.example
  ports:
    - number: 443
      name: tls
      protocol: TLS
  resolution: DNS
`,
  },
  {
    title: OBJECTIVE,
    text: `apiVersion: tautline.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: reviews
  namespace: default
spec:
  targetRefs:
    - name: reviews
  target: 99.9
  # latency: { threshold: 250ms }   # then what is slower counts as bad
  window: 30d
`,
  },
];
