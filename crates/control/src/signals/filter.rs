//! Which edges a reader wants, and by what they are grouped.

use serde::Serialize;
use taut_model::signal::{Edge, Party, Reporter};

/// Whose reports are read. Two proxies report what passes between them; to add both up counts it twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reports {
    /// One of the two: see [`Edge::counts_once`].
    #[default]
    Once,
    Of(Reporter),
    Both,
}

/// Empty: every edge. What is named must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of the source, the service or the destination.
    pub namespace: Option<String>,
    /// Short name, `name.namespace`, or host of the service.
    pub service: Option<String>,
    /// Of the source or the destination.
    pub workload: Option<String>,
    pub reports: Reports,
}

impl Filter {
    /// All edges, as both proxies report them.
    pub fn everything() -> Self {
        Self { reports: Reports::Both, ..Self::default() }
    }

    pub fn accepts(&self, edge: &Edge) -> bool {
        let reported = match self.reports {
            Reports::Once => edge.counts_once(),
            Reports::Of(reporter) => edge.reporter == reporter,
            Reports::Both => true,
        };
        let in_namespace = |name: &String| [&edge.source.namespace, &edge.service.namespace, &edge.destination.namespace].contains(&name);
        let of_workload = |name: &String| [&edge.source.workload, &edge.destination.workload].contains(&name);
        reported
            && self.namespace.as_ref().is_none_or(in_namespace)
            && self.workload.as_ref().is_none_or(of_workload)
            && self.service.as_ref().is_none_or(|name| is_service(edge, name))
    }
}

fn is_service(edge: &Edge, name: &str) -> bool {
    let service = &edge.service;
    let qualified = || name.split_once('.').is_some_and(|(short, namespace)| service.name == short && service.namespace == namespace);
    service.name == name || service.host == name || qualified()
}

/// What edges are added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    Source,
    Destination,
    #[default]
    Service,
    /// Service and version of the destination.
    Version,
    /// Service and route.
    Route,
    Edge,
}

impl By {
    pub fn read(word: &str) -> Option<Self> {
        Some(match word {
            "source" => Self::Source,
            "destination" => Self::Destination,
            "service" => Self::Service,
            "version" => Self::Version,
            "route" => Self::Route,
            "edge" => Self::Edge,
            _ => return None,
        })
    }

    pub fn key(self, edge: &Edge) -> Key {
        let service = || vec![("namespace", edge.service.namespace.clone()), ("service", edge.service.name.clone())];
        let party = |party: &Party| vec![("namespace", party.namespace.clone()), ("workload", party.workload.clone())];
        let with = |mut key: Vec<(&'static str, String)>, more: &[(&'static str, &str)]| {
            key.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            key
        };
        Key(match self {
            Self::Source => party(&edge.source),
            Self::Destination => party(&edge.destination),
            Self::Service => service(),
            Self::Version => with(service(), &[("version", &edge.destination.version)]),
            Self::Route => with(service(), &[("route", &edge.route)]),
            Self::Edge => {
                let names =
                    [("sourceNamespace", &*edge.source.namespace), ("source", &edge.source.workload), ("sourceVersion", &edge.source.version)];
                let there = [("destination", &*edge.destination.workload), ("version", &edge.destination.version), ("route", &edge.route)];
                let how =
                    [("protocol", &*edge.protocol.to_string()), ("reporter", &edge.reporter.to_string()), ("security", &edge.security.to_string())]
                        .map(|(name, value)| (name, value.to_owned()));
                let mut key =
                    with(with(with(Vec::new(), &names), &[("namespace", &edge.service.namespace), ("service", &edge.service.name)]), &there);
                key.extend(how);
                key
            }
        })
    }
}

/// The name of a series: labels and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Vec<(&'static str, String)>);

impl Key {
    /// Of what found no room.
    pub fn other() -> Self {
        Self(vec![("other", "true".to_owned())])
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
