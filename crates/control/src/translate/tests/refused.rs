//! Everything that the APIs have and the mesh does not do yet: refused, and by its exact path.

use super::*;

/// Wraps a rule of a VirtualService, a DestinationRule's traffic policy, or an HTTPRoute's rule.
fn virtual_service(rule: Value) -> (&'static str, Value) {
    ("VirtualService", json!({"hosts": ["reviews"], "http": [rule]}))
}

fn forwarding(field: &str, value: Value) -> (&'static str, Value) {
    virtual_service(json!({"route": [{"destination": {"host": "reviews"}}], field: value}))
}

fn traffic(policy: Value) -> (&'static str, Value) {
    ("DestinationRule", json!({"host": "reviews", "trafficPolicy": policy}))
}

fn http_route(rule: Value) -> (&'static str, Value) {
    ("HTTPRoute", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [rule]}))
}

fn authorization(rule: Value) -> (&'static str, Value) {
    ("AuthorizationPolicy", json!({"action": "DENY", "rules": [rule]}))
}

fn check(cases: Vec<((&'static str, Value), &str)>) {
    for ((kind, spec), path) in cases {
        let object = named(kind, "reviews", spec.clone());
        let problems = admit(&object);
        let errors = errors(&problems);
        assert!(!errors.is_empty(), "{kind} {spec} must be refused");
        assert!(errors.iter().any(|problem| problem.path == path && problem.message.starts_with(path)), "{path}: {problems:#?}");
    }
}

#[test]
fn virtual_service_fields() {
    check(vec![
        (forwarding("corsPolicy", json!({"allowOrigins": [{"regex": "("}]})), "spec.http[0].corsPolicy.allowOrigins[0].regex"),
        (forwarding("corsPolicy", json!({"allowOrigins": [{}]})), "spec.http[0].corsPolicy.allowOrigins[0]"),
        (forwarding("corsPolicy", json!({"allowMethods": ["GET", "a b"]})), "spec.http[0].corsPolicy.allowMethods[1]"),
        (forwarding("corsPolicy", json!({"maxAge": "never"})), "spec.http[0].corsPolicy.maxAge"),
        (forwarding("corsPolicy", json!({"unmatchedPreflights": "DROP"})), "spec.http[0].corsPolicy.unmatchedPreflights"),
        (forwarding("delegate", json!({"name": "x"})), "spec.http[0].delegate"),
        (virtual_service(json!({"delegate": {"namespace": "x"}})), "spec.http[0].delegate.name"),
        (("VirtualService", json!({"http": [{"delegate": {"name": "reviews"}}]})), "spec.http[0].delegate"),
        (("VirtualService", json!({"http": [{"route": [{"destination": {"host": "a"}}]}], "tcp": [{}]})), "spec.tcp"),
        (("VirtualService", json!({"http": [{"route": [{"destination": {"host": "a"}}]}], "gateways": ["mesh"]})), "spec.gateways"),
        (virtual_service(json!({"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}})), "spec.http[0].rewrite"),
        (forwarding("headers", json!({"request": {"set": {"x": "y".repeat(1 << 20)}}})), "spec.http[0].headers.request.set.x"),
        (forwarding("match", json!([{"uri": {"regex": "(a{1000}){1000}"}}])), "spec.http[0].match[0].uri.regex"),
        (forwarding("match", json!([{"headers": {"x": {"regex": "a)|(b"}}}])), "spec.http[0].match[0].headers.x.regex"),
        (forwarding("rewrite", json!({"uriRegexRewrite": {"match": "(?<=x)", "rewrite": ""}})), "spec.http[0].rewrite.uriRegexRewrite.match"),
        (
            forwarding("match", json!([{"headers": {"@request.auth.claims.sub": {"exact": "a"}}}])),
            "spec.http[0].match[0].headers.@request.auth.claims.sub",
        ),
        (forwarding("match", json!([{"headers": {":path": {"exact": "a"}}}])), "spec.http[0].match[0].headers.:path"),
        (forwarding("match", json!([{"uri": {}}])), "spec.http[0].match[0].uri"),
        (forwarding("match", json!([{"uri": {"exact": "/a", "prefix": "/b"}}])), "spec.http[0].match[0].uri"),
        (forwarding("match", json!([{"uri": {"regex": "("}}])), "spec.http[0].match[0].uri.regex"),
        (forwarding("match", json!([{"port": 70000}])), "spec.http[0].match[0].port"),
        (forwarding("fault", json!({"delay": {"exponentialDelay": "1s"}})), "spec.http[0].fault.delay.exponentialDelay"),
        (forwarding("fault", json!({"abort": {"http2Error": "x"}})), "spec.http[0].fault.abort.http2Error"),
        (forwarding("fault", json!({"abort": {"grpcStatus": "NOPE"}})), "spec.http[0].fault.abort.grpcStatus"),
        (forwarding("fault", json!({"abort": {"httpStatus": 99}})), "spec.http[0].fault.abort.httpStatus"),
        (forwarding("fault", json!({"abort": {"httpStatus": 500, "percentage": {"value": 101}}})), "spec.http[0].fault.abort.percentage.value"),
        (forwarding("retries", json!({"attempts": 1, "retryOn": "5xx,http3-post-connect-failure"})), "spec.http[0].retries.retryOn"),
        (forwarding("retries", json!({"attempts": -1})), "spec.http[0].retries.attempts"),
        (forwarding("timeout", json!("soon")), "spec.http[0].timeout"),
        (forwarding("headers", json!({"request": {"set": {"x": "%START_TIME%"}}})), "spec.http[0].headers.request.set.x"),
        (forwarding("headers", json!({"response": {"remove": [":status"]}})), "spec.http[0].headers.response.remove[0]"),
        (forwarding("redirect", json!({"uri": "/"})), "spec.http[0]"),
        (forwarding("mirrorPercentage", json!({"value": 5})), "spec.http[0].mirrorPercentage"),
        (virtual_service(json!({"redirect": {"redirectCode": 200}})), "spec.http[0].redirect.redirectCode"),
        (virtual_service(json!({"directResponse": {"status": 200, "body": {"bytes": "?"}}})), "spec.http[0].directResponse.body.bytes"),
        (virtual_service(json!({"directResponse": {"status": 200, "body": {"bytes": "AA==", "string": ""}}})), "spec.http[0].directResponse.body"),
        (virtual_service(json!({})), "spec.http[0]"),
        (("VirtualService", json!({"hosts": ["a*b"]})), "spec.hosts[0]"),
        (("VirtualService", json!({"hosts": []})), "spec.hosts"),
        (
            (
                "VirtualService",
                json!({"hosts": ["a"], "tcp": [{"match": [{"destinationSubnets": ["10.0.0.0/99"]}], "route": [{"destination": {"host": "a"}}]}]}),
            ),
            "spec.tcp[0].match[0].destinationSubnets[0]",
        ),
        (
            (
                "VirtualService",
                json!({"hosts": ["a"], "tcp": [{"match": [{"sourceSubnet": "10.0.0.0/8"}], "route": [{"destination": {"host": "a"}}]}]}),
            ),
            "spec.tcp[0].match[0].sourceSubnet",
        ),
        (("VirtualService", json!({"hosts": ["a"], "tls": [{"route": [{"destination": {"host": "a"}}]}]})), "spec.tls[0].match"),
        (
            ("VirtualService", json!({"hosts": ["a"], "tls": [{"match": [{"sniHosts": ["a.*.b"]}], "route": [{"destination": {"host": "a"}}]}]})),
            "spec.tls[0].match[0].sniHosts[0]",
        ),
    ]);
}

#[test]
fn destination_rule_fields() {
    check(vec![
        (traffic(json!({"loadBalancer": {"simple": "PASSTHROUGH"}})), "spec.trafficPolicy.loadBalancer.simple"),
        (
            traffic(json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a/*", "to": {"a/*": 90}}]}}})),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
        ),
        (
            traffic(json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a/*/c", "to": {"*": 100}}]}}})),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from",
        ),
        (
            traffic(json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "a"}]}}})),
            "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]",
        ),
        (
            traffic(
                json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "b"}], "failoverPriority": ["x"]}}}),
            ),
            "spec.trafficPolicy.loadBalancer.localityLbSetting",
        ),
        (traffic(json!({"loadBalancer": {"zoneAwareLbSetting": {"enabled": true}}})), "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting"),
        (traffic(json!({"loadBalancer": {"backendUtilization": {}}})), "spec.trafficPolicy.loadBalancer.backendUtilization"),
        (traffic(json!({"loadBalancer": {"warmup": {}}})), "spec.trafficPolicy.loadBalancer.warmup.duration"),
        (traffic(json!({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0.5}}})), "spec.trafficPolicy.loadBalancer.warmup.aggression"),
        (traffic(json!({"loadBalancer": {"consistentHash": {}}})), "spec.trafficPolicy.loadBalancer.consistentHash"),
        (
            traffic(json!({"loadBalancer": {"consistentHash": {"useSourceIp": true, "maglev": {"tableSize": 100}}}})),
            "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
        ),
        (
            traffic(json!({"loadBalancer": {"consistentHash": {"httpCookie": {"name": "a", "attributes": [{"name": "a", "value": "b; c"}]}}}})),
            "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].value",
        ),
        (traffic(json!({"tls": {"mode": "MUTUAL"}})), "spec.trafficPolicy.tls"),
        (traffic(json!({"tls": {"mode": "SIMPLE", "clientCertificate": "/x", "privateKey": "/y"}})), "spec.trafficPolicy.tls"),
        (traffic(json!({"tls": {"mode": "SIMPLE", "caCertificates": "x"}})), "spec.trafficPolicy.tls.caCertificates"),
        (traffic(json!({"tls": {"mode": "SIMPLE", "caCrl": "/x"}})), "spec.trafficPolicy.tls.caCrl"),
        (traffic(json!({"tls": {"mode": "SIMPLE", "credentialName": "x"}})), "spec.trafficPolicy.tls.credentialName"),
        (traffic(json!({"tls": {"mode": "SIMPLE", "insecureSkipVerify": true}})), "spec.trafficPolicy.tls.insecureSkipVerify"),
        (traffic(json!({"tls": {"mode": "ISTIO_MUTUAL", "sni": "x"}})), "spec.trafficPolicy.tls"),
        (traffic(json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}})), "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy"),
        (
            traffic(json!({"connectionPool": {"http": {"http2KeepAlive": {"interval": "1s"}}}})),
            "spec.trafficPolicy.connectionPool.http.http2KeepAlive",
        ),
        (traffic(json!({"connectionPool": {"tcp": {"maxConnectionDuration": "0s"}}})), "spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration"),
        (traffic(json!({"connectionPool": {"tcp": {"maxConnections": -1}}})), "spec.trafficPolicy.connectionPool.tcp.maxConnections"),
        (traffic(json!({"outlierDetection": {"consecutiveErrors": 1}})), "spec.trafficPolicy.outlierDetection.consecutiveErrors"),
        (
            traffic(json!({"outlierDetection": {"outlierDetectionHttpErrorCodes": [42]}})),
            "spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]",
        ),
        (traffic(json!({"outlierDetection": {"maxEjectionPercent": 101}})), "spec.trafficPolicy.outlierDetection.maxEjectionPercent"),
        (traffic(json!({"outlierDetection": {"interval": "0s"}})), "spec.trafficPolicy.outlierDetection.interval"),
        (traffic(json!({"retryBudget": {"budgetInterval": "1"}})), "spec.trafficPolicy.retryBudget.budgetInterval"),
        (traffic(json!({"tunnel": {"targetHost": "x"}})), "spec.trafficPolicy.tunnel"),
        (traffic(json!({"portLevelSettings": [{"tls": {"mode": "DISABLE"}}]})), "spec.trafficPolicy.portLevelSettings[0].port.number"),
        (("DestinationRule", json!({"host": "*foo"})), "spec.host"),
        (("DestinationRule", json!({"host": "a.*.b"})), "spec.host"),
        (("DestinationRule", json!({"host": "a", "subsets": [{"name": "x"}, {"name": "x"}]})), "spec.subsets[1].name"),
    ]);
}

#[test]
fn gateway_api_fields() {
    let filter = |filter: Value| http_route(json!({"filters": [filter]}));
    let parent = |parent: Value| ("HTTPRoute", json!({"parentRefs": [parent], "rules": []}));
    check(vec![
        (http_route(json!({"sessionPersistence": {"type": "Token"}})), "spec.rules[0].sessionPersistence.type"),
        (http_route(json!({"sessionPersistence": {"idleTimeout": "1m"}})), "spec.rules[0].sessionPersistence.idleTimeout"),
        (http_route(json!({"sessionPersistence": {"absoluteTimeout": "1h"}})), "spec.rules[0].sessionPersistence.absoluteTimeout"),
        (filter(json!({"type": "ExtensionRef"})), "spec.rules[0].filters[0].type"),
        (filter(json!({"type": "CORS"})), "spec.rules[0].filters[0]"),
        (filter(json!({"type": "CORS", "cors": {"allowOrigins": ["a.b"]}})), "spec.rules[0].filters[0].cors.allowOrigins[0]"),
        (filter(json!({"type": "CORS", "cors": {"maxAge": 0}})), "spec.rules[0].filters[0].cors.maxAge"),
        (
            http_route(json!({"backendRefs": [{"name": "reviews", "port": 1, "filters": [{"type": "CORS", "cors": {}}]}]})),
            "spec.rules[0].backendRefs[0].filters[0]",
        ),
        (
            http_route(json!({"backendRefs": [{"name": "reviews", "port": 1, "filters": [{"type": "ExtensionRef"}]}]})),
            "spec.rules[0].backendRefs[0].filters[0].type",
        ),
        (http_route(json!({"timeouts": {"request": "1s", "backendRequest": "2s"}})), "spec.rules[0].timeouts.backendRequest"),
        (
            http_route(json!({"matches": [{"headers": [{"name": "a", "type": "RegularExpression", "value": "("}]}]})),
            "spec.rules[0].matches[0].headers[0].value",
        ),
        (
            (
                "GRPCRoute",
                json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [{"matches": [{"method": {"type": "RegularExpression", "service": "("}}]}]}),
            ),
            "spec.rules[0].matches[0].method.service",
        ),
        (filter(json!({"type": "URLRewrite"})), "spec.rules[0].filters[0]"),
        (
            filter(json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "Host", "value": "x"}]}})),
            "spec.rules[0].filters[0].requestHeaderModifier.set[0].name",
        ),
        (
            http_route(
                json!({"matches": [{"path": {"type": "Exact", "value": "/a"}}], "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}]}),
            ),
            "spec.rules[0].filters",
        ),
        (http_route(json!({"matches": [{"path": {"value": "a"}}]})), "spec.rules[0].matches[0].path.value"),
        (http_route(json!({"backendRefs": [{"name": "reviews"}]})), "spec.rules[0].backendRefs[0].port"),
        (
            http_route(json!({"backendRefs": [{"name": "reviews", "port": 1, "filters": [{"type": "URLRewrite", "urlRewrite": {}}]}]})),
            "spec.rules[0].backendRefs[0].filters[0]",
        ),
        (http_route(json!({"timeouts": {"request": "1d"}})), "spec.rules[0].timeouts.request"),
        (http_route(json!({"retry": {"codes": [200]}})), "spec.rules[0].retry.codes[0]"),
        (parent(json!({"group": "networking.istio.io", "kind": "ServiceEntry", "name": "a"})), "spec.parentRefs[0]"),
        (("UDPRoute", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}]})), "spec.parentRefs"),
        (("TLSRoute", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [{}]})), "spec.hostnames"),
        (
            ("TLSRoute", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "hostnames": ["10.0.0.1"], "rules": [{}]})),
            "spec.hostnames[0]",
        ),
    ]);
}

#[test]
fn attached_policies() {
    let targets = json!([{"group": "", "kind": "Service", "name": "a"}]);
    let traffic = |persistence: Value| ("XBackendTrafficPolicy", json!({"targetRefs": targets, "sessionPersistence": persistence}));
    let budget = |constraint: Value| ("XBackendTrafficPolicy", json!({"targetRefs": targets, "retryConstraint": constraint}));
    let tls = |validation: Value| ("BackendTLSPolicy", json!({"targetRefs": targets, "validation": validation}));
    check(vec![
        (("XBackendTrafficPolicy", json!({"targetRefs": targets})), "spec"),
        (budget(json!({"budget": {"interval": "100ms"}})), "spec.retryConstraint.budget.interval"),
        (budget(json!({"budget": {"interval": "2h"}})), "spec.retryConstraint.budget.interval"),
        (budget(json!({"budget": {"percent": 101}})), "spec.retryConstraint.budget.percent"),
        (budget(json!({"minRetryRate": {"count": -1}})), "spec.retryConstraint.minRetryRate.count"),
        (budget(json!({"minRetryRate": {"interval": "0s"}})), "spec.retryConstraint.minRetryRate.interval"),
        (
            ("XBackendTrafficPolicy", json!({"targetRefs": [{"group": "x", "kind": "Y", "name": "a"}], "sessionPersistence": {}})),
            "spec.targetRefs[0]",
        ),
        (traffic(json!({"absoluteTimeout": "1h"})), "spec.sessionPersistence.absoluteTimeout"),
        (traffic(json!({"cookie": {"lifetimeType": "Permanent"}})), "spec.sessionPersistence.absoluteTimeout"),
        (traffic(json!({"cookie": {"name": "a=b"}})), "spec.sessionPersistence.cookie.name"),
        (traffic(json!({"cookie": {"path": "/;x"}})), "spec.sessionPersistence.cookie.path"),
        (traffic(json!({"type": "Header", "header": {"name": "a b"}})), "spec.sessionPersistence.header.name"),
        (tls(json!({"hostname": "a.b", "caCertificateRefs": [{"name": "x"}]})), "spec.validation.caCertificateRefs"),
        (tls(json!({"wellKnownCACertificates": "System"})), "spec.validation.hostname"),
        (
            tls(json!({"hostname": "a.b", "wellKnownCACertificates": "System", "subjectAltNames": [{"type": "URI", "uri": "x:y"}]})),
            "spec.validation.subjectAltNames[0].uri",
        ),
    ]);
}

#[test]
fn kinds_of_our_own() {
    let limit = |limit: Value| ("RateLimit", json!({"limits": [limit]}));
    let check_of = |fields: Value| {
        let mut spec = json!({"targetRefs": [{"name": "a"}]});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ("HealthCheck", spec)
    };
    check(vec![
        (("RateLimit", json!({})), "spec.limits"),
        (limit(json!({})), "spec.limits[0].requests"),
        (("RateLimit", json!({"sizes": [{}]})), "spec.sizes[0]"),
        (("RateLimit", json!({"sizes": [{"maxRequest": "1 MB"}]})), "spec.sizes[0].maxRequest"),
        (("RateLimit", json!({"sizes": [{"maxResponse": -1}]})), "spec.sizes[0].maxResponse"),
        (limit(json!({"requests": -1})), "spec.limits[0].requests"),
        (limit(json!({"requests": 1, "burst": 0})), "spec.limits[0].burst"),
        (limit(json!({"requests": 1, "interval": "0s"})), "spec.limits[0].interval"),
        (limit(json!({"requests": 1, "interval": "169h"})), "spec.limits[0].interval"),
        (limit(json!({"requests": 1, "per": "Header"})), "spec.limits[0].header"),
        (limit(json!({"requests": 1, "header": "x"})), "spec.limits[0].header"),
        (limit(json!({"requests": 1, "per": "Path"})), "spec.limits[0].per"),
        (limit(json!({"requests": 1, "to": [{"operation": {"paths": ["/{*}.css"]}}]})), "spec.limits[0].to[0].operation.paths[0]"),
        (("RateLimit", json!({"limits": [{"name": "a", "requests": 1}, {"name": "a", "requests": 2}]})), "spec.limits[1].name"),
        (check_of(json!({})), "spec"),
        (check_of(json!({"tcp": {}, "http": {}})), "spec"),
        (check_of(json!({"tcp": {}, "interval": "1ms"})), "spec.interval"),
        (check_of(json!({"tcp": {}, "healthyThreshold": 0})), "spec.healthyThreshold"),
        (check_of(json!({"http": {"path": "healthz"}})), "spec.http.path"),
        (check_of(json!({"http": {"expectedStatuses": ["299-200"]}})), "spec.http.expectedStatuses[0]"),
        (("HealthCheck", json!({"tcp": {}, "targetRefs": [{"kind": "Pod", "name": "a"}]})), "spec.targetRefs[0]"),
        (("HealthCheck", json!({"tcp": {}})), "spec.targetRefs"),
    ]);
}

#[test]
fn service_and_workload_entries() {
    let entry = |field: &str, value: Value| ("ServiceEntry", json!({"hosts": ["a.b"], "ports": [{"number": 80, "name": "http"}], field: value}));
    check(vec![
        (entry("hosts", json!(["*.b"])), "spec.hosts[0]"),
        (entry("resolution", json!("DYNAMIC_DNS")), "spec.resolution"),
        (entry("subjectAltNames", json!(["x"])), "spec.subjectAltNames"),
        (entry("addresses", json!(["10.0.0.0/8"])), "spec.addresses[0]"),
        (entry("exportTo", json!(["."])), "spec.exportTo"),
        (entry("endpoints", json!([{"address": "10.0.0.1", "network": "n"}])), "spec.endpoints[0].network"),
        (entry("ports", json!([{"number": 0, "name": "http"}])), "spec.ports[0].number"),
        (("ServiceEntry", json!({"hosts": ["a.b"], "resolution": "STATIC", "endpoints": [{"address": "c.d"}]})), "spec.endpoints[0].address"),
        (("WorkloadEntry", json!({})), "spec.address"),
        (("WorkloadEntry", json!({"address": "unix:///x"})), "spec.address"),
        (("WorkloadEntry", json!({"address": "10.0.0.1", "network": "n"})), "spec.network"),
        (("WorkloadEntry", json!({"address": "10.0.0.1", "serviceAccount": "a/b"})), "spec.serviceAccount"),
        (("WorkloadEntry", json!({"address": "10.0.0.1", "ports": {"http": 0}})), "spec.ports.http"),
    ]);
    let peer = with(named("WorkloadEntry", "w", json!({"address": "10.0.0.1"})), "annotations", json!({"tautline.dev/peer": "here"}));
    assert_eq!(admit(&peer)[0].path, "metadata.annotations.tautline.dev/peer");
}

#[test]
fn policy_fields() {
    let source = |field: &str, value: Value| authorization(json!({"from": [{"source": {"namespaces": ["a"], field: value}}]}));
    let operation = |field: &str, value: Value| authorization(json!({"to": [{"operation": {"methods": ["GET"], field: value}}]}));
    let when = |key: &str| authorization(json!({"when": [{"key": key, "values": ["a"]}]}));
    check(vec![
        (("AuthorizationPolicy", json!({"action": "WHATEVER"})), "spec.action"),
        (("AuthorizationPolicy", json!({"action": "CUSTOM"})), "spec.provider"),
        (("AuthorizationPolicy", json!({"provider": {"name": "x"}})), "spec.provider"),
        (("AuthorizationPolicy", json!({"targetRefs": []})), "spec.targetRefs"),
        (("AuthorizationPolicy", json!({"targetRef": {}})), "spec.targetRef.kind"),
        (
            ("AuthorizationPolicy", json!({"targetRefs": [{"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "a"}]})),
            "spec.targetRefs[0].kind",
        ),
        (("AuthorizationPolicy", json!({"targetRefs": [{"kind": "Service", "name": "a", "namespace": "b"}]})), "spec.targetRefs[0].namespace"),
        (
            ("AuthorizationPolicy", json!({"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Service", "name": "a"}]})),
            "spec.targetRefs[0]",
        ),
        (source("requestPrincipals", json!([])), "spec.rules[0].from[0].source.requestPrincipals"),
        (source("notRequestPrincipals", json!(["a*b"])), "spec.rules[0].from[0].source.notRequestPrincipals[0]"),
        (source("remoteIpBlocks", json!(["10.0.0.0/99"])), "spec.rules[0].from[0].source.remoteIpBlocks[0]"),
        (source("trustDomains", json!(["a*b"])), "spec.rules[0].from[0].source.trustDomains[0]"),
        (source("serviceAccounts", json!(["a"])), "spec.rules[0].from[0].source"),
        (source("ipBlocks", json!(["10.0.0.300"])), "spec.rules[0].from[0].source.ipBlocks[0]"),
        (source("principals", json!([])), "spec.rules[0].from[0].source.principals"),
        (source("principals", json!(["a*b"])), "spec.rules[0].from[0].source.principals[0]"),
        (source("serviceAccounts", json!(["a*"])), "spec.rules[0].from[0].source.serviceAccounts[0]"),
        (authorization(json!({"from": [{"source": {}}]})), "spec.rules[0].from[0].source"),
        (authorization(json!({"from": []})), "spec.rules[0].from"),
        (operation("paths", json!(["/a/{**}/{*}"])), "spec.rules[0].to[0].operation.paths[0]"),
        (operation("paths", json!(["/a", "/a/{*}*"])), "spec.rules[0].to[0].operation.paths[1]"),
        (operation("notPaths", json!(["/{*}/*"])), "spec.rules[0].to[0].operation.notPaths[0]"),
        (operation("paths", json!(["{*}"])), "spec.rules[0].to[0].operation.paths[0]"),
        (operation("paths", json!(["/{user}"])), "spec.rules[0].to[0].operation.paths[0]"),
        (operation("ports", json!(["http"])), "spec.rules[0].to[0].operation.ports[0]"),
        (when("request.auth.claims"), "spec.rules[0].when[0].key"),
        (when("request.auth.claims[a]b"), "spec.rules[0].when[0].key"),
        (when("request.auth.claims[a][]"), "spec.rules[0].when[0].key"),
        (when("request.auth.other"), "spec.rules[0].when[0].key"),
        (when("remote.ip"), "spec.rules[0].when[0].values[0]"),
        (when("source.ip"), "spec.rules[0].when[0].values[0]"),
        (authorization(json!({"when": [{"key": "source.namespace"}]})), "spec.rules[0].when[0]"),
        (("PeerAuthentication", json!({"mtls": {"mode": "MAYBE"}})), "spec.mtls.mode"),
        (("PeerAuthentication", json!({"portLevelMtls": {"80": {"mode": "DISABLE"}}})), "spec.portLevelMtls"),
    ]);
}

#[test]
fn token_fields() {
    let keys = r#"{"keys": [{"kty": "OKP"}]}"#;
    let rule = |field: &str, value: Value| {
        let mut rule = json!({"issuer": "a", "jwks": keys});
        rule[field] = value;
        ("RequestAuthentication", json!({"jwtRules": [rule]}))
    };
    assert_eq!(admit(&named("RequestAuthentication", "p", rule("audiences", json!(["a"])).1)), []);
    check(vec![
        (rule("issuer", json!("")), "spec.jwtRules[0].issuer"),
        (rule("presence", json!("REQUIRED")), "spec.jwtRules[0].presence"),
        (rule("jwks", json!("no keys")), "spec.jwtRules[0].jwks"),
        (rule("jwks", json!(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#)), "spec.jwtRules[0].jwks"),
        (rule("jwks", json!(r#"{"keys": [{"kty": "EC", "d": "c2VjcmV0"}]}"#)), "spec.jwtRules[0].jwks"),
        (rule("jwks", Value::Null), "spec.jwtRules[0].jwksUri"),
        (rule("jwksUri", json!("https://a/b")), "spec.jwtRules[0].jwksUri"),
        (("RequestAuthentication", json!({"jwtRules": [{"issuer": "a", "jwksUri": "file:///b"}]})), "spec.jwtRules[0].jwksUri"),
        (rule("timeout", json!("0s")), "spec.jwtRules[0].timeout"),
        (rule("timeout", json!("1h")), "spec.jwtRules[0].timeout"),
        (rule("fromHeaders", json!([{"name": "a b"}])), "spec.jwtRules[0].fromHeaders[0].name"),
        (rule("fromParams", json!([""])), "spec.jwtRules[0].fromParams[0]"),
        (rule("outputPayloadToHeader", json!("a b")), "spec.jwtRules[0].outputPayloadToHeader"),
        (rule("outputClaimToHeaders", json!([{"claim": "", "header": "a"}])), "spec.jwtRules[0].outputClaimToHeaders[0].claim"),
        (rule("unheardOf", json!(1)), "spec.jwtRules[0].unheardOf"),
        (("RequestAuthentication", json!({"targetRef": {"kind": "Gateway", "name": "a"}})), "spec.targetRef.kind"),
    ]);
}

#[test]
fn a_refusal_carries_its_place_in_the_file() {
    let mut object = named("VirtualService", "reviews", forwarding("fault", json!({"delay": {"exponentialDelay": "1s"}})).1);
    let place = taut_model::origin::Location { file: "reviews.yaml".to_owned(), line: 12, column: 5 };
    object.places = Some(Arc::new([("spec.http[0].fault.delay.exponentialDelay".to_owned(), place.clone())].into()));
    let problems = admit(&object);
    assert_eq!(problems[0].location, Some(place.clone()));
    assert_eq!(problems[0].code, "UnsupportedValue");
    assert!(
        problems[0].message.starts_with("spec.http[0].fault.delay.exponentialDelay is not supported yet: remove it, or"),
        "{}",
        problems[0].message
    );
    // A pattern that would take a proxy's memory is told with its line too.
    let blows_up = forwarding("match", json!([{"uri": {"regex": "((a{100}){100}){100}"}}])).1;
    let mut object = named("VirtualService", "reviews", blows_up);
    object.places = Some(Arc::new([("spec.http[0].match[0].uri.regex".to_owned(), place.clone())].into()));
    let problems = admit(&object);
    assert_eq!((problems[0].location.clone(), problems[0].code), (Some(place), "InvalidValue"));
    assert!(problems[0].message.contains("is not a regular expression"), "{}", problems[0].message);
}
