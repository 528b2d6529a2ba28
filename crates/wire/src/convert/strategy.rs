//! Any value that the model can hold, for properties. Most are boxed: their trees would not fit on a test's stack.

use super::destinations::{destination, persistence, retry_budget};
use crate::resource::Resource;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::authorizer::{Authorizer, AuthorizerHttp, AuthorizerProtocol, BodySent};
use taut_model::destination::Balancer;
use taut_model::expression::Expression;
use taut_model::identity::Identity;
use taut_model::origin::{Location, ObjectRef, Origin};
use taut_model::policy::*;
use taut_model::rate_limit::*;
use taut_model::route::*;
use taut_model::service::*;
use taut_model::settings::{Compression, MeshSettings, Outside, TrustDomainAlias};
use taut_model::telemetry::*;
use taut_model::trust::{Revoked, TrustBundle};
use taut_model::workload::*;

pub fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        service().prop_map(|service| Resource::Service(Arc::new(service))),
        workload().prop_map(|workload| Resource::Workload(Arc::new(workload))),
        route().prop_map(|route| Resource::Route(Arc::new(route))),
        destination().prop_map(|destination| Resource::Destination(Arc::new(destination))),
        peer_authentication().prop_map(|policy| Resource::PeerAuthentication(Arc::new(policy))),
        authorization_policy().prop_map(|policy| Resource::AuthorizationPolicy(Arc::new(policy))),
        request_authentication().prop_map(|policy| Resource::RequestAuthentication(Arc::new(policy))),
        rate_limit().prop_map(|limit| Resource::RateLimit(Arc::new(limit))),
        mesh_settings().prop_map(|settings| Resource::MeshSettings(Arc::new(settings))),
        telemetry().prop_map(|telemetry| Resource::Telemetry(Arc::new(telemetry))),
        trust_bundle().prop_map(|bundle| Resource::TrustBundle(Arc::new(bundle))),
    ]
}

/// Empty now and then: the empty text is what protobuf leaves out.
pub(super) fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9./*é-]{1,8}"]
}

pub(super) fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

pub(super) fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

pub(super) fn percent() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(100.0), 0.0..100.0]
}

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_secs(315_576_000_000)),
        (0..315_576_000_000_u64, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
    ]
}

pub(super) fn origin() -> BoxedStrategy<Origin> {
    let location = (text(), any::<u32>(), any::<u32>()).prop_map(|(file, line, column)| Location { file, line, column });
    (text(), text(), text(), any::<i64>(), text(), of(location))
        .prop_map(|(kind, namespace, name, generation, path, location)| Origin {
            object: ObjectRef { kind, namespace, name },
            generation,
            path,
            location,
        })
        .boxed()
}

fn service() -> BoxedStrategy<Service> {
    let protocol = prop::sample::select(vec![
        AppProtocol::Http,
        AppProtocol::Http2,
        AppProtocol::Grpc,
        AppProtocol::Tcp,
        AppProtocol::Tls,
        AppProtocol::Unknown,
    ]);
    let port = (any::<u16>(), text(), protocol).prop_map(|(number, name, protocol)| ServicePort { number, name, protocol });
    let place = prop::sample::select(vec![Place::Mesh, Place::External]);
    let resolution = prop::sample::select(vec![Resolution::Static, Resolution::Dns, Resolution::Passthrough]);
    let distribution = prop::sample::select(vec![Distribution::Any, Distribution::SameZone, Distribution::SameNode]);
    let affinity = prop::sample::select(vec![Affinity::None, Affinity::ClientAddress]);
    let names = (text(), text(), text());
    (origin(), names, vec(port, 0..3), place, resolution, vec(any::<std::net::IpAddr>(), 0..3), distribution, affinity)
        .prop_map(|(origin, (host, name, namespace), ports, place, resolution, addresses, distribution, affinity)| Service {
            origin,
            host,
            name,
            namespace,
            ports,
            place,
            resolution,
            addresses,
            distribution,
            affinity,
        })
        .boxed()
}

/// Without the IPv6 flow label, which is not carried.
fn socket_address() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|mut address| {
        if let SocketAddr::V6(address) = &mut address {
            address.set_flowinfo(0);
        }
        address
    })
}

fn workload() -> BoxedStrategy<Workload> {
    let identity = (text(), text(), text()).prop_map(|(trust, namespace, account)| Identity::new(trust, namespace, account));
    let serves = (text(), any::<u16>(), any::<u16>()).prop_map(|(host, port, target)| Serves { host, port, target });
    let health = prop::sample::select(vec![Health::Ready, Health::Draining, Health::NotReady]);
    let names = (text(), text(), text(), text(), text());
    (origin(), names, identity, labels(), vec(serves, 0..3), of(socket_address()), health, any::<u32>())
        .prop_map(|(origin, (uid, name, namespace, address, locality), identity, labels, serves, peer, health, weight)| Workload {
            origin,
            uid,
            name,
            namespace,
            identity,
            labels,
            address,
            serves,
            peer,
            health,
            weight,
            locality,
        })
        .boxed()
}

fn route() -> BoxedStrategy<Route> {
    let dialect = prop::sample::select(vec![Dialect::Istio, Dialect::GatewayApi]);
    let protocol = prop::sample::select(vec![RouteProtocol::Grpc, RouteProtocol::Http, RouteProtocol::Tls, RouteProtocol::Tcp]);
    let parent = (text(), of(any::<u16>())).prop_map(|(host, port)| Parent { host, port });
    (origin(), (dialect, protocol), vec(parent, 0..3), texts(), texts(), text(), vec(http_rule(), 0..3), vec(tcp_rule(), 0..2), of(percent()))
        .prop_map(|(origin, (dialect, protocol), parents, consumer_namespaces, hostnames, created, http, tcp, sampling)| Route {
            origin,
            dialect,
            protocol,
            parents,
            consumer_namespaces,
            hostnames,
            created,
            http,
            tcp,
            sampling,
        })
        .boxed()
}

fn http_rule() -> BoxedStrategy<HttpRule> {
    let rewrite = (of(path_rewrite()), of(text())).prop_map(|(path, authority)| Rewrite { path, authority });
    let mirror = (backend(), percent()).prop_map(|(backend, percent)| Mirror { backend, percent });
    let headers = (header_change(), header_change());
    let trouble = (of(duration()), of(retry()), of(fault()), of(cors()));
    let hedging = (origin(), percent()).prop_map(|(origin, percent)| Hedging { origin, percent });
    let beside = (vec(mirror, 0..2), of(persistence()), of(hedging));
    (origin(), text(), vec(http_match(), 0..2), http_action(), of(rewrite), headers, trouble, beside)
        .prop_map(|(origin, name, matches, action, rewrite, (request_headers, response_headers), (timeout, retry, fault, cors), beside)| HttpRule {
            origin,
            name,
            matches,
            action,
            rewrite,
            request_headers,
            response_headers,
            timeout,
            retry,
            fault,
            mirrors: beside.0,
            cors,
            persistence: beside.1,
            hedging: beside.2,
        })
        .boxed()
}

fn cors() -> BoxedStrategy<Cors> {
    let allowed = || prop_oneof![texts().prop_map(Allowed::Listed), Just(Allowed::Asked)];
    let credentials = prop::sample::select(vec![Credentials::Allowed, Credentials::Withheld]);
    let strangers = prop::sample::select(vec![StrangersPreflight::Forward, StrangersPreflight::Refuse]);
    (origin(), vec(text_match(), 0..2), allowed(), allowed(), texts(), of(duration()), credentials, strangers)
        .prop_map(|(origin, allow_origins, allow_methods, allow_headers, expose_headers, max_age, credentials, strangers)| Cors {
            origin,
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            credentials,
            strangers,
        })
        .boxed()
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![text().prop_map(TextMatch::Exact), text().prop_map(TextMatch::Prefix), text().prop_map(TextMatch::Regex), Just(TextMatch::Present),]
}

fn http_action() -> BoxedStrategy<HttpAction> {
    let port = prop_oneof![Just(RedirectPort::Keep), any::<u16>().prop_map(RedirectPort::Number), Just(RedirectPort::FromScheme)];
    let redirect = (any::<u16>(), of(text()), of(text()), port, of(path_rewrite())).prop_map(|(status, scheme, authority, port, path)| Redirect {
        status,
        scheme,
        authority,
        port,
        path,
    });
    let respond = (any::<u16>(), vec(any::<u8>(), 0..9)).prop_map(|(status, body)| DirectResponse { status, body });
    prop_oneof![vec(backend(), 0..3).prop_map(HttpAction::Forward), redirect.prop_map(HttpAction::Redirect), respond.prop_map(HttpAction::Respond),]
        .boxed()
}

fn path_rewrite() -> impl Strategy<Value = PathRewrite> {
    prop_oneof![
        text().prop_map(PathRewrite::Full),
        text().prop_map(PathRewrite::Prefix),
        (text(), text()).prop_map(|(pattern, substitution)| PathRewrite::Regex { pattern, substitution }),
    ]
}

fn header_change() -> BoxedStrategy<HeaderChange> {
    let headers = || vec((text(), text()), 0..2);
    let name = || (text(), of(text()), of(any::<u32>())).prop_map(|(name, otherwise, most)| HeaderPiece { name, otherwise, most });
    let piece = prop_oneof![
        text().prop_map(Piece::Text),
        name().prop_map(Piece::RequestHeader),
        name().prop_map(Piece::ResponseHeader),
        prop::sample::select(vec![Piece::ClientAddress, Piece::ClientIp, Piece::Protocol]),
    ];
    let how = prop::sample::select(vec![HowChanged::Set, HowChanged::Add]);
    let computed = (text(), how, vec(piece, 0..3)).prop_map(|(name, how, value)| ComputedHeader { name, how, value });
    (headers(), headers(), texts(), vec(computed, 0..2)).prop_map(|(set, add, remove, computed)| HeaderChange { set, add, remove, computed }).boxed()
}

fn retry() -> BoxedStrategy<Retry> {
    let on = prop_oneof![
        prop::sample::select(vec![
            RetryOn::ConnectFailure,
            RetryOn::RefusedStream,
            RetryOn::Reset,
            RetryOn::ResetBeforeRequest,
            RetryOn::ServerError,
            RetryOn::GatewayError,
            RetryOn::Conflict,
            RetryOn::RateLimited,
            RetryOn::NamedHeader,
        ]),
        any::<u16>().prop_map(RetryOn::Status),
        any::<u16>().prop_map(RetryOn::Grpc),
    ];
    let endpoints = prop::sample::select(vec![RetryEndpoints::Others, RetryEndpoints::Any]);
    (any::<u32>(), of(duration()), vec(on, 0..4), duration(), endpoints)
        .prop_map(|(attempts, per_try_timeout, on, backoff, endpoints)| Retry { attempts, per_try_timeout, on, backoff, endpoints })
        .boxed()
}

fn fault() -> BoxedStrategy<Fault> {
    let delay = (percent(), duration()).prop_map(|(percent, duration)| FaultDelay { percent, duration });
    let with = prop_oneof![any::<u16>().prop_map(AbortWith::Http), any::<u16>().prop_map(AbortWith::Grpc)];
    let abort = (percent(), with).prop_map(|(percent, with)| FaultAbort { percent, with });
    (origin(), of(delay), of(abort)).prop_map(|(origin, delay, abort)| Fault { origin, delay, abort }).boxed()
}

fn http_match() -> BoxedStrategy<HttpMatch> {
    let path = prop_oneof![
        text().prop_map(PathMatch::Exact),
        text().prop_map(PathMatch::Prefix),
        text().prop_map(PathMatch::Segments),
        text().prop_map(PathMatch::Regex),
        (of(text_match()), of(text_match())).prop_map(|(service, method)| PathMatch::Grpc { service, method }),
    ];
    let named = || vec((text(), text_match()).prop_map(|(name, value)| NamedMatch { name, value }), 0..2);
    let line = (of(path), any::<bool>(), of(text_match()), of(text_match()), of(text_match()));
    (origin(), line, named(), named(), named(), of(any::<u16>()), labels(), of(text()))
        .prop_map(
            |(
                origin,
                (path, ignore_path_case, method, scheme, authority),
                headers,
                without_headers,
                query,
                port,
                source_labels,
                source_namespace,
            )| {
                HttpMatch {
                    origin,
                    path,
                    ignore_path_case,
                    method,
                    scheme,
                    authority,
                    headers,
                    without_headers,
                    query,
                    port,
                    source_labels,
                    source_namespace,
                }
            },
        )
        .boxed()
}

fn backend() -> BoxedStrategy<Backend> {
    (origin(), text(), of(any::<u16>()), of(text()), any::<u32>(), header_change(), header_change(), of(text()))
        .prop_map(|(origin, host, port, subset, weight, request_headers, response_headers, unresolved)| Backend {
            origin,
            host,
            port,
            subset,
            weight,
            request_headers,
            response_headers,
            unresolved,
        })
        .boxed()
}

fn tcp_rule() -> BoxedStrategy<TcpRule> {
    (origin(), of(any::<u16>()), labels(), of(text()), texts(), texts(), vec(backend(), 0..2))
        .prop_map(|(origin, port, source_labels, source_namespace, destination_subnets, sni, backends)| TcpRule {
            origin,
            port,
            source_labels,
            source_namespace,
            destination_subnets,
            sni,
            backends,
        })
        .boxed()
}

fn rate_limit() -> BoxedStrategy<RateLimit> {
    let per = prop_oneof![Just(Per::Workload), Just(Per::Client), text().prop_map(Per::Header)];
    let interval = duration().prop_filter("an interval has a length", |interval| !interval.is_zero());
    let limit = (origin(), text(), any::<u32>(), interval, any::<u32>(), per, authorization_rule())
        .prop_map(|(origin, name, requests, interval, burst, per, matching)| RequestLimit { origin, name, requests, interval, burst, per, matching });
    let size = (origin(), text(), of(any::<u64>()), of(any::<u64>()), authorization_rule())
        .prop_map(|(origin, name, max_request, max_response, matching)| SizeLimit { origin, name, max_request, max_response, matching });
    (origin(), text(), labels(), vec(limit, 0..3), vec(size, 0..2))
        .prop_map(|(origin, namespace, selector, limits, sizes)| RateLimit { origin, namespace, selector, limits, sizes })
        .boxed()
}

fn peer_authentication() -> BoxedStrategy<PeerAuthentication> {
    let mode = || prop::sample::select(vec![MtlsMode::Strict, MtlsMode::Permissive, MtlsMode::Disable]);
    (origin(), text(), labels(), of(mode()), btree_map(any::<u16>(), mode(), 0..3), text())
        .prop_map(|(origin, namespace, selector, mode, ports, created)| PeerAuthentication { origin, namespace, selector, mode, ports, created })
        .boxed()
}

fn trust_bundle() -> BoxedStrategy<TrustBundle> {
    let bytes = || vec(any::<u8>(), 0..4);
    let revoked = vec((bytes(), bytes()), 0..3);
    (origin(), text(), vec(bytes(), 1..3), bytes(), revoked, text())
        .prop_map(|(origin, trust_domain, roots, signer, revoked, token_keys)| TrustBundle {
            origin,
            trust_domain,
            roots,
            signer,
            revoked: revoked.iter().map(|(issuer, serial)| Revoked::new(issuer, serial)).collect(),
            token_keys,
        })
        .boxed()
}

fn mesh_settings() -> BoxedStrategy<MeshSettings> {
    let balancer = prop::sample::select(vec![Balancer::LeastRequest, Balancer::PeakEwma, Balancer::LoadAware]);
    let compression =
        (labels(), texts(), any::<u64>()).prop_map(|(selector, content_types, min_length)| Compression { selector, content_types, min_length });
    let outside = prop::sample::select(vec![Outside::Reachable, Outside::Refused]);
    let defaults = (of(text()), texts(), texts()).prop_map(|(tracing, logging, metrics)| DefaultProviders { tracing, logging, metrics });
    let tracing =
        (percent(), any::<bool>(), of(duration())).prop_map(|(sampling, failures, slower_than)| TracingDefaults { sampling, failures, slower_than });
    let observed = (vec(provider(), 0..3), defaults, tracing);
    let alias = (text(), any::<bool>()).prop_map(|(trust_domain, federated)| TrustDomainAlias { trust_domain, federated });
    let outside = (outside, vec(alias, 0..3));
    (origin(), any::<bool>(), balancer, of(percent()), retry_budget(), of(compression), outside, observed)
        .prop_map(|(origin, protection, balancer, hedging, retry_budget, compression, outside, observed)| MeshSettings {
            origin,
            protection,
            balancer,
            hedging,
            retry_budget,
            compression,
            outside: outside.0,
            aliases: outside.1,
            providers: observed.0,
            default_providers: observed.1,
            tracing: observed.2,
        })
        .boxed()
}

fn provider() -> impl Strategy<Value = Provider> {
    let headers = || vec((text(), text()), 0..2);
    let protocol = prop_oneof![
        headers().prop_map(|headers| OtlpProtocol::Grpc { headers }),
        (text(), headers()).prop_map(|(base, headers)| OtlpProtocol::Http { base, headers })
    ];
    let every = duration().prop_filter("an interval has a length", |interval| !interval.is_zero());
    let collector = (text(), any::<u16>(), protocol, duration(), every)
        .prop_map(|(host, port, protocol, timeout, metrics_every)| ProviderKind::Otlp(Collector { host, port, protocol, timeout, metrics_every }));
    let kind = prop_oneof![Just(ProviderKind::Prometheus), Just(ProviderKind::File), collector, authorizer().prop_map(ProviderKind::Authorizer)];
    (text(), kind).prop_map(|(name, kind)| Provider { name, kind })
}

fn authorizer() -> BoxedStrategy<Authorizer> {
    let http = (text(), texts(), vec((text(), text()), 0..2), texts(), texts(), texts()).prop_map(
        |(path_prefix, request_headers, added_headers, to_upstream, to_client_on_deny, to_client_on_allow)| {
            let http = AuthorizerHttp { path_prefix, request_headers, added_headers, to_upstream, to_client_on_deny, to_client_on_allow };
            AuthorizerProtocol::Http(http)
        },
    );
    let body = (any::<u32>(), any::<bool>()).prop_map(|(most, partly)| BodySent { most, partly });
    let protocol = prop_oneof![Just(AuthorizerProtocol::Grpc), http];
    (text(), any::<u16>(), duration(), any::<bool>(), any::<u16>(), of(body), protocol)
        .prop_map(|(host, port, timeout, fail_open, status_on_error, body, protocol)| Authorizer {
            host,
            port,
            timeout,
            fail_open,
            status_on_error,
            body,
            protocol,
        })
        .boxed()
}

fn telemetry() -> BoxedStrategy<Telemetry> {
    let mode = || prop::sample::select(vec![Mode::Both, Mode::Client, Mode::Server]);
    let tag = prop_oneof![
        text().prop_map(Tag::Literal),
        (text(), text()).prop_map(|(name, default)| Tag::Environment { name, default }),
        (text(), text()).prop_map(|(name, default)| Tag::Header { name, default })
    ];
    let tracing = (origin(), mode(), of(text()), of(percent()), of(any::<bool>()), btree_map(text(), tag, 0..3))
        .prop_map(|(origin, mode, provider, sampling, disabled, tags)| Tracing { origin, mode, provider, sampling, disabled, tags });
    let filter = prop::sample::select(vec!["response.code >= 400", "!connection.mtls"]).prop_map(|text| Expression::parse(text).expect("parses"));
    let logging = (origin(), mode(), texts(), any::<bool>(), of(filter)).prop_map(|(origin, mode, providers, disabled, filter)| Logging {
        origin,
        mode,
        providers,
        disabled,
        filter,
    });
    let change = prop_oneof![Just(TagChange::Remove), text().prop_map(TagChange::Set)];
    let over = (mode(), of(text()), of(any::<bool>()), btree_map(text(), change, 0..3)).prop_map(|(mode, metric, disabled, tags)| MetricOverride {
        mode,
        metric,
        disabled,
        tags,
    });
    let metrics = (origin(), texts(), vec(over, 0..3)).prop_map(|(origin, providers, overrides)| Metrics { origin, providers, overrides });
    (origin(), text(), labels(), text(), vec(tracing, 0..3), vec(logging, 0..3), vec(metrics, 0..3))
        .prop_map(|(origin, namespace, selector, created, tracing, logging, metrics)| Telemetry {
            origin,
            namespace,
            selector,
            created,
            tracing,
            logging,
            metrics,
        })
        .boxed()
}

fn authorization_policy() -> BoxedStrategy<AuthorizationPolicy> {
    use AuthorizationAction::{Allow, Audit, Custom, Deny};
    let action = prop::sample::select(vec![Allow, Deny, Audit, Custom]);
    (origin(), text(), labels(), texts(), action, text(), any::<bool>(), vec(authorization_rule(), 0..3))
        .prop_map(|(origin, namespace, selector, services, action, provider, dry_run, rules)| AuthorizationPolicy {
            origin,
            namespace,
            selector,
            services,
            action,
            provider,
            dry_run,
            rules,
        })
        .boxed()
}

fn request_authentication() -> BoxedStrategy<RequestAuthentication> {
    (origin(), text(), labels(), texts(), vec(token_rule(), 0..3), any::<bool>())
        .prop_map(|(origin, namespace, selector, services, rules, closed)| RequestAuthentication {
            origin,
            namespace,
            selector,
            services,
            rules,
            closed,
        })
        .boxed()
}

fn token_rule() -> BoxedStrategy<TokenRule> {
    let keys = prop_oneof![
        text().prop_map(TokenKeys::Inline),
        (text(), duration(), of(text())).prop_map(|(uri, timeout, keys)| TokenKeys::Fetched { uri, timeout, keys }),
    ];
    let header = (text(), text()).prop_map(|(name, prefix)| TokenHeader { name, prefix });
    let places = (vec(header, 0..2), texts(), texts());
    let told = (of(text()), vec((text(), text()), 0..2), any::<bool>(), texts());
    (origin(), text(), texts(), keys, places, told)
        .prop_map(|(origin, issuer, audiences, keys, (headers, parameters, cookies), told)| {
            let (payload_header, claim_headers, forward, spaced_claims) = told;
            TokenRule { origin, issuer, audiences, keys, headers, parameters, cookies, payload_header, claim_headers, forward, spaced_claims }
        })
        .boxed()
}

fn authorization_rule() -> impl Strategy<Value = AuthorizationRule> {
    (origin(), vec(source_match(), 0..2), vec(operation_match(), 0..2), vec(condition(), 0..2))
        .prop_map(|(origin, from, to, when)| AuthorizationRule { origin, from, to, when })
}

fn source_match() -> BoxedStrategy<SourceMatch> {
    let identities = (texts(), texts(), texts(), texts(), texts(), texts(), texts(), texts());
    let addresses = (texts(), texts(), texts(), texts());
    (identities, addresses, texts(), texts())
        .prop_map(|(identities, (ip_blocks, not_ip_blocks, remote_ip_blocks, not_remote_ip_blocks), request_principals, not_request_principals)| {
            let (principals, not_principals, namespaces, not_namespaces, trust_domains, not_trust_domains, accounts, not_accounts) = identities;
            SourceMatch {
                principals,
                not_principals,
                namespaces,
                not_namespaces,
                trust_domains,
                not_trust_domains,
                service_accounts: accounts,
                not_service_accounts: not_accounts,
                request_principals,
                not_request_principals,
                ip_blocks,
                not_ip_blocks,
                remote_ip_blocks,
                not_remote_ip_blocks,
            }
        })
        .boxed()
}

fn operation_match() -> BoxedStrategy<OperationMatch> {
    let ports = || vec(any::<u16>(), 0..3);
    (texts(), texts(), ports(), ports(), texts(), texts(), texts(), texts())
        .prop_map(|(hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths)| OperationMatch {
            hosts,
            not_hosts,
            ports,
            not_ports,
            methods,
            not_methods,
            paths,
            not_paths,
        })
        .boxed()
}

fn condition() -> BoxedStrategy<Condition> {
    let key = prop_oneof![
        text().prop_map(ConditionKey::RequestHeader),
        vec(text(), 1..3).prop_map(ConditionKey::RequestClaim),
        prop::sample::select(vec![
            ConditionKey::SourceIp,
            ConditionKey::RemoteIp,
            ConditionKey::SourceNamespace,
            ConditionKey::SourcePrincipal,
            ConditionKey::SourceServiceAccount,
            ConditionKey::SourceTrustDomain,
            ConditionKey::DestinationIp,
            ConditionKey::DestinationPort,
            ConditionKey::ConnectionSni,
            ConditionKey::RequestPrincipal,
            ConditionKey::RequestAudiences,
            ConditionKey::RequestPresenter,
        ]),
    ];
    (key, texts(), texts()).prop_map(|(key, values, not_values)| Condition { key, values, not_values }).boxed()
}
