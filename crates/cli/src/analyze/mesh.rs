//! The objects of the mesh that runs, as its API lists them.

use crate::Outcome;
use crate::api::{Api, collection};
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use taut_model::kinds::KINDS;
use taut_model::object::Object;
use taut_model::read;

/// Of what happens, not of what is configured.
const UNREAD: [&str; 2] = ["Event", "Node"];

/// All objects of all kinds. Kinds that the API does not serve, or that this user may not read, are left out.
pub async fn objects(api: &Api) -> Outcome<Vec<Arc<Object>>> {
    let mut objects = Vec::new();
    for kind in KINDS.iter().filter(|kind| !UNREAD.contains(&kind.kind)) {
        let answer = api.get(&collection(kind, None)).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) {
            continue;
        }
        let list = answer.good()?;
        for item in list["items"].as_array().into_iter().flatten() {
            let mut item = item.clone();
            item["apiVersion"] = Value::from(kind.api_version());
            item["kind"] = kind.kind.into();
            // What is stored has been read before.
            objects.extend(read::json(item).ok().map(Arc::new));
        }
    }
    Ok(objects)
}
