//! Any destination that the model can hold, for properties.

use super::strategy::{duration, labels, origin, percent, text, texts};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use taut_model::destination::*;

pub(super) fn destination() -> BoxedStrategy<Destination> {
    let subset = (origin(), text(), labels(), traffic_policy()).prop_map(|(origin, name, labels, policy)| Subset { origin, name, labels, policy });
    let role = prop::sample::select(vec![Role::Rule, Role::Addition]);
    let clients = (texts(), labels()).prop_map(|(namespaces, labels)| Clients { namespaces, labels });
    (origin(), text(), text(), role, clients, traffic_policy(), vec(subset, 0..3))
        .prop_map(|(origin, host, namespace, role, clients, policy, subsets)| Destination { origin, host, namespace, role, clients, policy, subsets })
        .boxed()
}

fn traffic_policy() -> BoxedStrategy<TrafficPolicy> {
    (flat_policy(), vec((any::<u16>(), flat_policy()), 0..2)).prop_map(|(policy, ports)| TrafficPolicy { ports, ..policy }).boxed()
}

fn flat_policy() -> BoxedStrategy<TrafficPolicy> {
    let proxy_protocol = prop::sample::select(vec![ProxyProtocol::V1, ProxyProtocol::V2]);
    let said = (of(balancer()), of(limits()), of(outlier()), of(tls()), of(retry_budget()), of(proxy_protocol));
    let preferred = (of(locality()), of(warm_up()), of(health_check()), of(persistence()));
    (said, preferred)
        .prop_map(|((balancer, limits, outlier, tls, retry_budget, proxy_protocol), (locality, warm_up, health_check, persistence))| TrafficPolicy {
            balancer,
            limits,
            outlier,
            tls,
            retry_budget,
            proxy_protocol,
            locality,
            warm_up,
            health_check,
            persistence,
            ports: Vec::new(),
        })
        .boxed()
}

pub(super) fn retry_budget() -> BoxedStrategy<RetryBudget> {
    let interval = duration().prop_filter("an interval has a length", |interval| !interval.is_zero());
    let rate = (any::<u32>(), interval).prop_map(|(count, interval)| RetryRate { count, interval });
    (percent(), any::<u32>(), duration(), of(rate))
        .prop_map(|(percent, min_concurrency, interval, min_rate)| RetryBudget { percent, min_concurrency, interval, min_rate })
        .boxed()
}

fn tls() -> impl Strategy<Value = ClientTls> {
    let files = (text(), text()).prop_map(|(chain, key)| CertificateFiles { chain, key });
    let origination = (of(text()), texts(), of(text()), of(files));
    prop_oneof![
        Just(ClientTls::Disable),
        origination.prop_map(|(sni, subject_alt_names, roots, certificate)| ClientTls::Simple(Origination {
            sni,
            subject_alt_names,
            roots,
            certificate
        })),
        Just(ClientTls::Mesh),
    ]
}

fn balancer() -> BoxedStrategy<Balancer> {
    let key = || {
        prop_oneof![
            text().prop_map(HashKey::Header),
            text().prop_map(HashKey::Query),
            Just(HashKey::SourceIp),
            (text(), text(), of(duration()), vec((text(), text()), 0..2)).prop_map(|(name, path, ttl, attributes)| HashKey::Cookie {
                name,
                path,
                ttl,
                attributes
            }),
        ]
    };
    prop_oneof![
        prop::sample::select(vec![Balancer::LeastRequest, Balancer::PeakEwma, Balancer::LoadAware, Balancer::RoundRobin, Balancer::Random]),
        (key(), any::<u64>()).prop_map(|(key, min_size)| Balancer::RingHash { key, min_size }),
        (key(), any::<u64>()).prop_map(|(key, table_size)| Balancer::Maglev { key, table_size }),
    ]
    .boxed()
}

fn locality() -> impl Strategy<Value = LocalityPolicy> {
    let distribute = (text(), vec((text(), any::<u32>()), 0..3)).prop_map(|(from, to)| Distribute { from, to });
    let label = (text(), of(text())).prop_map(|(name, value)| LabelMatch { name, value });
    (any::<bool>(), vec(distribute, 0..2), vec((text(), text()), 0..2), vec(label, 0..3))
        .prop_map(|(disabled, distribute, failover, failover_priority)| LocalityPolicy { disabled, distribute, failover, failover_priority })
}

fn warm_up() -> impl Strategy<Value = WarmUp> {
    (duration(), percent(), 0.1..10.0).prop_map(|(duration, minimum_percent, aggression)| WarmUp { duration, minimum_percent, aggression })
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let probe = prop_oneof![
        Just(Probe::Tcp),
        (text(), vec((any::<u16>(), any::<u16>()), 0..2)).prop_map(|(path, statuses)| Probe::Http { path, statuses }),
        text().prop_map(|service| Probe::Grpc { service }),
    ];
    (origin(), probe, duration(), duration(), any::<u32>(), any::<u32>()).prop_map(
        |(origin, probe, interval, timeout, unhealthy_after, healthy_after)| HealthCheck {
            origin,
            probe,
            interval,
            timeout,
            unhealthy_after,
            healthy_after,
        },
    )
}

pub(super) fn persistence() -> impl Strategy<Value = Persistence> {
    let cookie = (text(), text(), of(duration())).prop_map(|(name, path, ttl)| SessionMark::Cookie { name, path, ttl });
    (origin(), prop_oneof![cookie, text().prop_map(SessionMark::Header)]).prop_map(|(origin, by)| Persistence { origin, by })
}

fn limits() -> impl Strategy<Value = Limits> {
    let count = || of(any::<u32>());
    let keepalive = (of(duration()), of(duration()), count()).prop_map(|(time, interval, probes)| Keepalive { time, interval, probes });
    let counts = (count(), count(), count(), count(), count(), count());
    let times = (of(duration()), of(duration()), of(duration()), of(duration()));
    (counts, times, of(keepalive)).prop_map(|(counts, times, keepalive)| {
        let (max_connections, max_pending, max_requests, max_retries, max_requests_per_connection, max_streams) = counts;
        let (connect_timeout, idle_timeout, tcp_idle_timeout, max_connection_age) = times;
        Limits {
            max_connections,
            max_pending,
            max_requests,
            max_retries,
            max_requests_per_connection,
            connect_timeout,
            idle_timeout,
            tcp_idle_timeout,
            max_streams,
            max_connection_age,
            keepalive,
        }
    })
}

fn outlier() -> impl Strategy<Value = OutlierPolicy> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (numbers, duration(), duration(), of(any::<u32>()), vec(any::<u16>(), 0..3)).prop_map(
        |(numbers, interval, base_ejection, local_origin_failures, error_statuses)| {
            let (consecutive_5xx, consecutive_gateway_errors, max_ejection_percent, min_health_percent) = numbers;
            OutlierPolicy {
                consecutive_5xx,
                consecutive_gateway_errors,
                interval,
                base_ejection,
                max_ejection_percent,
                min_health_percent,
                local_origin_failures,
                error_statuses,
            }
        },
    )
}
