//! `/taut/v1/changes`: the list, one generation, and its rollback.

use super::rollback::{self, Refused, Restored};
use super::shown;
use crate::access::{Role, Visitor, changes_traffic};
use crate::status::{Board, Liveness};
use crate::store::ledger::{Entry, Generation, Verb};
use crate::store::{Store, StoreError};
use crate::world::World;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::object::Object;

/// Generations of one answer, if the client names no number, and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

/// What the routes stand on. Cheap to clone.
#[derive(Clone)]
pub struct Changes {
    pub store: Store,
    pub board: Board,
    pub world: World,
}

/// Behind the guard, which knows who may read and who may roll back.
pub fn router(changes: Changes) -> Router {
    Router::new()
        .route("/taut/v1/changes", get(list))
        .route("/taut/v1/changes/{generation}", get(one))
        .route("/taut/v1/changes/{generation}/rollback", post(take_back))
        .with_state(changes)
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    limit: Option<usize>,
    /// Only older ones than this.
    #[serde(default)]
    before: Option<u64>,
}

/// The newest first.
async fn list(State(changes): State<Changes>, _: Visitor, Query(page): Query<Page>) -> Json<Value> {
    let all = changes.store.generations();
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let older = all.iter().rev().filter(|generation| page.before.is_none_or(|before| generation.number < before));
    let shown: Vec<_> = older.take(limit).cloned().collect();
    let oldest = all.first().map(|generation| generation.number);
    let more = shown.last().map(|last| last.number) > oldest;
    let rows: Vec<Value> = shown.iter().zip(changes.live(&shown)).map(|(generation, live)| row(generation, live)).collect();
    Json(json!({"changes": rows, "oldest": oldest, "more": more}))
}

async fn one(State(changes): State<Changes>, _: Visitor, Path(number): Path<String>) -> Response {
    let all = changes.store.generations();
    let Some(generation) = number.parse().ok().and_then(|number: u64| all.iter().find(|generation| generation.number == number)) else {
        return unknown(&number);
    };
    let live = changes.live(std::slice::from_ref(generation)).pop().unwrap_or_default();
    let mut answer = row(generation, live);
    answer["objects"] = generation.entries.iter().map(|entry| whole(entry)).collect();
    let later = all.iter().filter(|later| later.number > generation.number && generation.entries.iter().any(|entry| later.touches(entry)));
    answer["overtakenBy"] = later.map(|later| later.number).collect();
    Json(answer).into_response()
}

fn unknown(number: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("there is no generation {number}, or it is too old to be kept; /taut/v1/changes lists them"))
}

fn row(generation: &Generation, live: Value) -> Value {
    let mut value = shown::row(generation);
    value["live"] = live;
    value
}

fn whole(entry: &Entry) -> Value {
    let (before, after) = (shown::side(entry.before.as_deref()), shown::side(entry.after.as_deref()));
    let mut value = shown::named(entry);
    value["diff"] = shown::diff(before.as_deref(), after.as_deref()).into();
    (value["before"], value["after"]) = (before.into(), after.into());
    value["source"] = shown::source(entry).into();
    value["kept"] = entry.whole.into();
    value
}

impl Changes {
    /// Where the objects of each generation are live, as they were left by it. What was changed again since is `superseded`.
    fn live(&self, generations: &[Arc<Generation>]) -> Vec<Value> {
        let current: Vec<Vec<Arc<Object>>> =
            generations.iter().map(|generation| generation.entries.iter().filter_map(|entry| self.as_left(entry)).collect()).collect();
        let told = |(generation, (objects, live)): (&Arc<Generation>, (&Vec<Arc<Object>>, Liveness))| {
            let gone = |entry: &&Arc<Entry>| entry.verb == Verb::Delete && self.store.get(entry.kind, &entry.namespace, &entry.name).is_none();
            let superseded = generation.entries.len() - objects.len() - generation.entries.iter().filter(gone).count();
            json!({
                "total": live.need, "live": live.have, "lagging": live.lagging, "refused": live.refused, "accepted": live.accepted,
                "superseded": superseded, "message": live.message,
            })
        };
        generations.iter().zip(current.iter().zip(self.board.liveness_of(&current))).map(told).collect()
    }

    fn as_left(&self, entry: &Entry) -> Option<Arc<Object>> {
        let object = self.store.get(entry.kind, &entry.namespace, &entry.name)?;
        (entry.verb != Verb::Delete && object.generation() == entry.generation).then_some(object)
    }

    /// An operator takes back what an operator may change.
    fn may(&self, visitor: &Visitor, number: u64) -> bool {
        let all = self.store.generations();
        let target = all.iter().find(|generation| generation.number == number);
        visitor.role == Role::Admin || target.is_none_or(|target| target.entries.iter().all(|entry| changes_traffic(entry.kind)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct How {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
}

async fn take_back(State(changes): State<Changes>, visitor: Visitor, Path(number): Path<String>, Query(how): Query<How>) -> Response {
    let Ok(number) = number.parse::<u64>() else { return unknown(&number) };
    if !changes.may(&visitor, number) {
        let message = format!(
            "generation {number} changes more than traffic, so taking it back needs the role admin, and {} is {}",
            visitor.user, visitor.role
        );
        return refuse(StatusCode::FORBIDDEN, message);
    }
    // A write waits for the disk.
    let done = tokio::task::spawn_blocking(move || {
        let request = rollback::Request {
            number,
            force: how.force,
            dry_run: how.dry_run,
            user: &visitor.user,
            now: &changes.world.wall_text(),
            dice: &|| changes.world.unique(),
        };
        rollback::rollback(&changes.store, &request)
    });
    match done.await {
        Ok(Ok(restored)) => Json(told(&restored)).into_response(),
        Ok(Err(refused)) => not_taken_back(&refused),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the rollback was given up"),
    }
}

fn told(restored: &Restored) -> Value {
    let object = |step: &rollback::Step| {
        let object = &step.object;
        json!({"verb": step.verb, "kind": object.kind, "namespace": object.namespace, "name": object.name, "diff": step.diff})
    };
    json!({
        "generation": restored.generation, "objects": restored.objects.iter().map(object).collect::<Vec<_>>(), "warnings": restored.warnings,
    })
}

fn not_taken_back(refused: &Refused) -> Response {
    let (status, conflicts) = match refused {
        Refused::Unknown(_) => (StatusCode::NOT_FOUND, Vec::new()),
        Refused::Overtaken(later) => (StatusCode::CONFLICT, later.iter().map(|one| row(one, Value::Null)).collect()),
        Refused::NotKept(_) | Refused::NoNamespace(_) | Refused::Nothing => (StatusCode::UNPROCESSABLE_ENTITY, Vec::new()),
        Refused::Store(StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. }) => {
            (StatusCode::CONFLICT, Vec::new())
        }
        Refused::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    (status, Json(json!({"error": refused.to_string(), "conflicts": conflicts}))).into_response()
}
