//! What all rules of a VirtualService are made of: gateways, destinations, weights, header changes.

use super::api;
use crate::translate::format::{Of, Wrong, pieces};
use crate::translate::reader::Reader;
use crate::translate::values;
use std::collections::BTreeMap;
use taut_model::route::{Backend, ComputedHeader, HeaderChange, HowChanged, Piece, TextMatch};

/// The name of the gateway that stands for all sidecars.
pub const MESH: &str = "mesh";

/// Whether a list of gateways speaks of sidecars. An empty one does: `mesh` is the default.
pub fn for_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH)
}

/// Istio: a single destination takes all traffic whatever its weight; beside others an absent weight is 0.
pub fn weight(reader: &mut Reader<'_>, at: &str, written: Option<i64>, only: bool) -> u32 {
    let weight = reader.count(&format!("{at}.weight"), written);
    match only {
        true => weight.filter(|weight| *weight > 0).unwrap_or(100),
        false => weight.unwrap_or(0),
    }
}

/// `origin` and `at` are the paths of the share and of its `Destination`, which are the same node for a mirror.
pub fn backend(reader: &mut Reader<'_>, origin: &str, at: &str, destination: &api::Destination, weight: u32) -> Backend {
    if destination.host.is_empty() || destination.host.contains('*') {
        reader.invalid(&format!("{at}.host"), format_args!("{:?} is not a host name", destination.host));
    }
    let port = destination.port.as_ref().and_then(|port| reader.port(&format!("{at}.port.number"), port.number));
    Backend {
        origin: reader.origin(origin),
        host: reader.host(&destination.host),
        port,
        subset: destination.subset.clone().filter(|subset| !subset.is_empty()),
        weight,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    }
}

/// An empty match asks only that the value is there.
pub fn text_match(reader: &mut Reader<'_>, at: &str, text: &api::StringMatch) -> Option<TextMatch> {
    match (&text.exact, &text.prefix, &text.regex) {
        (None, None, None) => Some(TextMatch::Present),
        (Some(exact), None, None) => Some(TextMatch::Exact(exact.clone())),
        (None, Some(prefix), None) => Some(TextMatch::Prefix(prefix.clone())),
        (None, None, Some(regex)) => {
            reader.taken(&format!("{at}.regex"), values::pattern(regex))?;
            Some(TextMatch::Regex(regex.clone()))
        }
        _ => {
            reader.invalid(at, "names more than one of exact, prefix and regex: choose one");
            None
        }
    }
}

/// Setting `Host` (or `:authority`) is Istio's older way to say `rewrite.authority`.
pub fn authority_of(mut operations: api::HeaderOperations) -> (Option<String>, api::HeaderOperations) {
    let name = operations.set.keys().find(|name| matches!(name.to_ascii_lowercase().as_str(), "host" | ":authority")).cloned();
    (name.and_then(|name| operations.set.remove(&name)), operations)
}

pub fn header_change(reader: &mut Reader<'_>, at: &str, of: Of, operations: api::HeaderOperations) -> HeaderChange {
    let mut computed = Vec::new();
    let mut values = |reader: &mut Reader<'_>, how, field: &str, headers| {
        let mut fixed = Vec::new();
        for (name, mut value) in header_values(reader, &format!("{at}.{field}"), of, headers) {
            match (value.len(), value.pop()) {
                (1, Some(Piece::Text(text))) => fixed.push((name, text)),
                (_, last) => computed.push(ComputedHeader { name, how, value: value.into_iter().chain(last).collect() }),
            }
        }
        fixed
    };
    let set = values(reader, HowChanged::Set, "set", operations.set);
    let add = values(reader, HowChanged::Add, "add", operations.add);
    let mut remove = Vec::new();
    for (index, name) in operations.remove.iter().enumerate() {
        remove.extend(header_name(reader, &format!("{at}.remove[{index}]"), name));
    }
    HeaderChange { set, add, remove, computed }
}

fn header_values(reader: &mut Reader<'_>, at: &str, of: Of, headers: BTreeMap<String, String>) -> Vec<(String, Vec<Piece>)> {
    let mut changes = Vec::new();
    for (name, value) in headers {
        let at = format!("{at}.{name}");
        let Some(name) = header_name(reader, &at, &name) else { continue };
        match pieces(&value, of) {
            Ok(pieces) => {
                for text in pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text) } else { None }) {
                    reader.taken(&at, values::header_value(text));
                }
                changes.push((name, pieces));
            }
            Err(Wrong::Unsupported(what, instead)) => reader.unsupported_value(&at, what, instead),
            Err(Wrong::Invalid(because)) => reader.invalid(&at, because),
        }
    }
    changes
}

/// A header that a rule may change: neither a pseudo-header nor the host, which `rewrite.authority` is for.
fn header_name(reader: &mut Reader<'_>, at: &str, name: &str) -> Option<String> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        reader.unsupported_value(at, format_args!("changing {name:?} here"), "use spec.http[].rewrite");
        return None;
    }
    reader.taken(at, values::header_name(name))
}
