//! `reviews`: what readers say. v1 shows no stars, v2 black ones, v3 red ones; v2 and v3 ask `ratings`.

use crate::app::App;
use crate::client::Upstreams;
use crate::server::{Answer, Call, Service, book, json};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub struct Reviews {
    version: String,
    instance: String,
    upstreams: Upstreams,
}

impl Reviews {
    pub fn new(app: &App) -> Arc<Self> {
        Arc::new(Self { version: app.version.clone(), instance: app.instance.clone(), upstreams: app.upstreams.clone() })
    }

    fn color(&self) -> Option<&'static str> {
        match self.version.as_str() {
            "v1" => None,
            "v2" => Some("black"),
            _ => Some("red"),
        }
    }

    /// Stars by reviewer, or why there are none.
    async fn stars(&self, id: u32, passed: &HeaderMap) -> Result<Value, String> {
        let reply = self.upstreams.get(&format!("http://ratings:9080/ratings/{id}"), passed, Duration::from_secs(10)).await?;
        if reply.status != StatusCode::OK {
            return Err(format!("ratings answered {}", reply.status.as_u16()));
        }
        let ratings: Value = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
        Ok(ratings["ratings"].clone())
    }
}

impl Service for Reviews {
    async fn answer(&self, call: Call) -> Answer {
        let Some(id) = book(&call.path, "/reviews/") else {
            return json(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }));
        };
        let mut reviews = [
            ("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
            ("Reviewer2", "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."),
        ]
        .map(|(reviewer, text)| json!({ "reviewer": reviewer, "text": text }));
        if let Some(color) = self.color() {
            let stars = self.stars(id, &call.headers).await;
            for review in &mut reviews {
                let reviewer = review["reviewer"].as_str().unwrap_or_default().to_owned();
                review["rating"] = match &stars {
                    Ok(stars) => json!({ "stars": stars[reviewer], "color": color }),
                    Err(why) => json!({ "error": "Ratings service is currently unavailable", "why": why }),
                };
            }
        }
        json(StatusCode::OK, &json!({ "id": id.to_string(), "podname": self.instance, "served_by": self.version, "reviews": reviews }))
    }
}
