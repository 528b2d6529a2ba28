//! The Kubernetes API over the store, complete enough that stock `kubectl` manages a mesh that has no Kubernetes.
//!
//! Answers are JSON; a client that would rather have protobuf takes that. Nothing here decides what objects mean: `model`
//! checks them, `Api::admit` may refuse more, the store keeps them.
//!
//! Source of the semantics: "Kubernetes API Concepts" and the API conventions of sig-architecture.

mod accept;
mod admission;
mod answer;
mod asked;
mod body;
mod change;
pub(crate) mod defaults;
mod discovery;
mod external;
mod jsonpath;
mod look;
mod openapi;
mod protobuf;
mod refusal;
mod remove;
mod review;
mod seed;
mod selector;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod watch;

pub use external::{External, Measured};
pub use seed::seed;

use crate::store::ledger::{Author, Occasion};
use crate::store::{Store, Write};
use answer::Answer;
use asked::Asked;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::Method;
use refusal::Refusal;
use std::sync::Arc;
use target::{Address, Target};
use taut_model::kinds::Kind;
use taut_model::object::Object;
use taut_model::problem::Problem;

/// Judges an object beyond its schema.
pub type Admit = dyn Fn(&Object) -> Vec<Problem> + Send + Sync;

/// Whether a user may do something to objects of a kind.
pub type May = dyn Fn(&Method, &Kind) -> bool + Send + Sync;

/// Somebody who was let in.
#[derive(Clone)]
pub struct User {
    pub name: String,
    /// For those who ask beforehand.
    pub may: Arc<May>,
}

/// The user behind a bearer token (`None`: the client sent none), or why it is not let in.
pub type Authenticate = dyn Fn(Option<&str>) -> Result<User, String> + Send + Sync;

/// The kind whose objects a path is about.
pub fn reached(path: &str) -> Option<&'static Kind> {
    match target::parse(path) {
        Some(Target::Objects(address)) => Some(address.kind),
        _ => None,
    }
}

/// What the API stands on; time, chance and judgement are passed in.
pub struct Api {
    pub store: Store,
    /// Further admission of an object that fits its schema: errors refuse it, warnings are told to the client.
    pub admit: Arc<Admit>,
    /// RFC 3339, seconds, UTC.
    pub clock: Arc<dyn Fn() -> String + Send + Sync>,
    /// Fresh random bytes.
    pub dice: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
    pub authenticate: Arc<Authenticate>,
    /// What autoscalers may ask for.
    pub external: External,
}

impl Api {
    /// A write by `manager` for whoever asked; see [`Write`] for what an empty manager means.
    fn write(&self, asked: &Asked, manager: &str, status_only: bool) -> Write {
        let user = asked.user.as_ref().map(|user| user.name.clone()).unwrap_or_default();
        let occasion = asked.options.change.map_or(Occasion::Alone, Occasion::Named);
        let author = Author { user, manager: asked.manager().to_owned(), occasion, ..Author::default() };
        Write { author: Some(Arc::new(author)), ..self.own_write(manager, status_only) }
    }

    /// A write of the control plane's own.
    fn own_write(&self, manager: &str, status_only: bool) -> Write {
        Write { manager: manager.to_owned(), now: (self.clock)(), uid_seed: (self.dice)(), places: None, status_only, author: None }
    }
}

/// Every path of the API.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(serve).with_state(api)
}

async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let asked = match asked::read(&api, request).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(),
    };
    let writes = asked.method != Method::GET;
    let answer = match writes && api.store.is_durable() {
        // A write waits for the disk, and other clients should not wait with it.
        true => {
            tokio::task::spawn_blocking(move || answer(&api, &asked)).await.unwrap_or_else(|_| Err(Refusal::internal("the request was given up")))
        }
        false => answer(&api, &asked),
    };
    answer.map_or_else(IntoResponse::into_response, Answer::into_response)
}

fn answer(api: &Arc<Api>, asked: &Asked) -> Result<Answer, Refusal> {
    let get = |answer: Answer| if asked.method == Method::GET { Ok(answer) } else { Err(Refusal::method_not_allowed(&asked.method)) };
    match &asked.target {
        Target::Health => get(Answer::text("ok")),
        Target::Version => get(Answer::json(&discovery::version())),
        Target::Root => get(Answer::json(&discovery::root())),
        Target::CoreVersions => get(discovery::core_versions(&asked.accept)),
        Target::Groups => get(discovery::groups(&asked.accept)),
        Target::Group(group) => get(Answer::json(&discovery::group(group))),
        Target::Resources { group, version } => get(Answer::json(&discovery::resources(group, version))),
        Target::ExternalGroup => get(Answer::json(&external::group())),
        Target::ExternalMetrics => get(Answer::json(&external::resources(api))),
        Target::ExternalMetric { namespace, metric } => get(external::values(api, asked, namespace, metric)?),
        Target::OpenApiV2 => get(openapi::version_two()),
        Target::OpenApiIndex => get(Answer::json(&openapi::index())),
        Target::OpenApi(path) => get(openapi::document(path)?),
        Target::AccessReview => review::access(asked),
        Target::Objects(address) => objects(api, asked, address),
    }
}

fn objects(api: &Arc<Api>, asked: &Asked, address: &Address) -> Result<Answer, Refusal> {
    match (&asked.method, &address.name) {
        (&Method::GET, Some(name)) => look::get(api, asked, address, name),
        (&Method::GET, None) if asked.options.watch => watch::start(api, asked, address),
        (&Method::GET, None) => look::list(api, asked, address),
        (&Method::POST, None) if address.is_complete() => change::create(api, asked, address),
        (&Method::PUT, Some(name)) => change::replace(api, asked, address, name),
        (&Method::PATCH, Some(name)) => change::patch(api, asked, address, name),
        (&Method::DELETE, Some(name)) if !address.status => remove::one(api, asked, address, name),
        (&Method::DELETE, None) if address.is_complete() => remove::many(api, asked, address),
        (method, _) => Err(Refusal::method_not_allowed(method)),
    }
}
