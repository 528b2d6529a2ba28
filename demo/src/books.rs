//! `books`: a catalogue on the internet, which `details` may ask. It stands for what is no part of the mesh.

use crate::server::{Answer, Call, Service, book, json};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;

pub struct Books;

impl Books {
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Service for Books {
    async fn answer(&self, call: Call) -> Answer {
        match book(&call.path, "/volumes/") {
            Some(id) => json(StatusCode::OK, &json!({ "id": id, "pages": 200 })),
            None => json(StatusCode::NOT_FOUND, &json!({ "error": "no such volume; try /volumes/0" })),
        }
    }
}
