//! `taut token`: a join token, for one proxy, once.

use crate::api::Api;
use crate::output::{self, Format};
use crate::place::Place;
use crate::wait::duration;
use crate::{Failure, Outcome};
use serde_json::json;
use std::time::Duration;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut token --service-account bookinfo-reviews
  TAUT_TOKEN=$(taut token) taut-proxy --service reviews --port 9080")]
pub struct Arguments {
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The identity the token is good for, and no other
    #[arg(long, value_name = "NAME", default_value = "default")]
    service_account: String,
    /// How long it is good for, e.g. 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    ttl: Duration,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn token(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let token = mint(&api, &arguments.namespace, &arguments.service_account, arguments.ttl).await?;
    match arguments.output {
        Format::Table => output::print(&format!("{token}\n")),
        format => output::structured(format, &json!({ "token": token, "ttlSeconds": arguments.ttl.as_secs() })),
    }
}

pub async fn mint(api: &Api, namespace: &str, service_account: &str, ttl: Duration) -> Outcome<String> {
    let body = json!({ "namespace": namespace, "serviceAccount": service_account, "ttlSeconds": ttl.as_secs() });
    let value = api.post("/taut/v1/tokens", &body).await?.good()?;
    value["token"].as_str().map(str::to_owned).ok_or_else(|| Failure::cannot("the control plane answered without a token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_token_is_for_one_account_even_if_none_is_named() {
        let account = |words: &[&str]| <Line as clap::Parser>::try_parse_from(words).unwrap().arguments.service_account;
        assert_eq!(account(&["token"]), "default");
        assert_eq!(account(&["token", "--service-account", "page"]), "page");
    }
}
