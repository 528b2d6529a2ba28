//! Requests of pages of other origins (the CORS protocol of the Fetch standard): which preflights are answered here, and what is
//! put on responses so that the page may read them.

use crate::facts::HttpFacts;
use crate::pattern::Text;
use std::borrow::Cow;
use taut_model::origin::Origin;
use taut_model::route::{Allowed, Cors, Credentials, HeaderChange, StrangersPreflight};

/// The request's headers that a policy looks at.
pub(crate) const REQUEST_HEADERS: [&str; 3] = ["origin", "access-control-request-method", "access-control-request-headers"];

/// A policy, compiled.
#[derive(Debug)]
pub(crate) struct CorsPolicy {
    pub(crate) origin: Origin,
    allow: Vec<Text>,
    methods: Allowed,
    headers: Allowed,
    expose: String,
    max_age: Option<String>,
    credentials: Credentials,
    strangers: StrangersPreflight,
}

/// What a policy makes of one request.
#[derive(Debug)]
pub(crate) enum Sharing {
    /// No page of another origin asks.
    NotAsked,
    /// The response gets these headers.
    Shared(HeaderChange),
    /// The answer to a preflight: these headers, and nobody is called.
    Preflight(HeaderChange),
    /// From an origin that is not allowed: the response gets these headers, none of which lets the page read it.
    Stranger(HeaderChange),
    StrangersPreflight,
}

impl CorsPolicy {
    /// # Errors
    /// Says which pattern of an origin cannot be used.
    pub(crate) fn compile(said: &Cors) -> Result<Self, String> {
        Ok(Self {
            origin: said.origin.clone(),
            allow: said.allow_origins.iter().map(Text::compile).collect::<Result<_, _>>()?,
            methods: said.allow_methods.clone(),
            headers: said.allow_headers.clone(),
            expose: said.expose_headers.join(","),
            max_age: said.max_age.map(|age| age.as_secs().to_string()),
            credentials: said.credentials,
            strangers: said.strangers,
        })
    }

    /// `Origin` makes a request one of another origin's page; a preflight is an OPTIONS that names the method to come (Fetch
    /// standard, "CORS-preflight request").
    pub(crate) fn judge(&self, http: &HttpFacts<'_>) -> Sharing {
        let Some(page) = http.header("origin").filter(|page| !page.is_empty()) else { return Sharing::NotAsked };
        let method = http.header("access-control-request-method").filter(|method| http.method == "OPTIONS" && !method.is_empty());
        match (self.allows(&page), method) {
            (true, Some(method)) => Sharing::Preflight(self.preflight(&page, &method, http)),
            (true, None) => Sharing::Shared(self.shared(&page)),
            (false, Some(_)) if self.strangers == StrangersPreflight::Refuse => Sharing::StrangersPreflight,
            (false, _) => Sharing::Stranger(varying()),
        }
    }

    fn allows(&self, page: &str) -> bool {
        self.allow.iter().any(|text| text.matches(page) || text.matches("*"))
    }

    fn preflight(&self, page: &str, method: &str, http: &HttpFacts<'_>) -> HeaderChange {
        let mut change = self.common(page);
        let asked_headers = http.header("access-control-request-headers");
        let mut say = |name: &str, value: Option<Cow<'_, str>>| {
            let value = value.filter(|value| !value.is_empty());
            change.set.extend(value.map(|value| (name.to_owned(), value.into_owned())));
        };
        say("access-control-allow-methods", allowed(&self.methods, Some(Cow::Borrowed(method))));
        say("access-control-allow-headers", allowed(&self.headers, asked_headers));
        say("access-control-max-age", self.max_age.as_deref().map(Cow::Borrowed));
        change
    }

    fn shared(&self, page: &str) -> HeaderChange {
        let mut change = self.common(page);
        if !self.expose.is_empty() {
            change.set.push(("access-control-expose-headers".to_owned(), self.expose.clone()));
        }
        change
    }

    fn common(&self, page: &str) -> HeaderChange {
        let mut change = varying();
        change.set.push(("access-control-allow-origin".to_owned(), page.to_owned()));
        if self.credentials == Credentials::Allowed {
            change.set.push(("access-control-allow-credentials".to_owned(), "true".to_owned()));
        }
        change
    }
}

/// A cache must not show one origin's response to another (Fetch standard, "CORS protocol and HTTP caches").
fn varying() -> HeaderChange {
    HeaderChange { add: vec![("vary".to_owned(), "origin".to_owned())], ..HeaderChange::default() }
}

fn allowed<'a>(allowed: &'a Allowed, asked: Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
    match allowed {
        Allowed::Listed(listed) => Some(Cow::Owned(listed.join(","))),
        Allowed::Asked => asked,
    }
}

impl Sharing {
    /// For people; nothing when nobody asks.
    pub(crate) fn describe(&self, http: &HttpFacts<'_>) -> Option<String> {
        let page = http.header("origin").unwrap_or_default();
        match self {
            Self::NotAsked => None,
            Self::Shared(_) => Some(format!("pages of {page} may read the response")),
            Self::Preflight(_) => Some(format!("a preflight of {page}: answered here")),
            Self::Stranger(_) => Some(format!("pages of {page} may not read the response")),
            Self::StrangersPreflight => Some(format!("a preflight of {page}, which is not allowed")),
        }
    }
}
