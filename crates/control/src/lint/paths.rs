//! Reading objects as they are written: lists with the path of each item, texts, labels.

use serde_json::Value;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// The items of the list `field` of the node at `path`, each with its own path.
pub fn items<'a>(node: &'a Value, path: &str, field: &str) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let at = format!("{path}.{field}");
    node[field].as_array().into_iter().flatten().enumerate().map(move |(index, item)| (format!("{at}[{index}]"), item))
}

/// The texts of a list, likewise.
pub fn texts<'a>(node: &'a Value, path: &str, field: &str) -> impl Iterator<Item = (String, &'a str)> + use<'a> {
    items(node, path, field).filter_map(|(path, item)| Some((path, item.as_str()?)))
}

pub fn labels(node: &Value) -> Labels {
    let pairs = node.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// A port as a number, if it is one.
pub fn port(node: &Value) -> Option<u16> {
    node.as_u64().and_then(|number| u16::try_from(number).ok())
}

pub fn covers(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// `app=reviews,version=v1`
pub fn shown(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
