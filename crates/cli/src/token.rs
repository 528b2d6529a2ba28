//! `taut token`: a join token, for one proxy, once; or a token with a role, for a person or a program.

use crate::api::Api;
use crate::duration::duration;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut token --service-account bookinfo-reviews
  TAUT_TOKEN=$(taut token) taut-proxy --service reviews --port 9080
  taut token --role viewer --user anna --ttl 720h     to sign in at the dashboard, or as a bearer token
  taut token --list                                   tokens with a role; --revoke ID ends one")]
pub struct Arguments {
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The identity the token is good for, and no other
    #[arg(long, value_name = "NAME", default_value = "default")]
    service_account: String,
    /// A token for a person or a program instead, who may do what the role may
    #[arg(long, value_enum, requires = "user")]
    role: Option<Role>,
    /// Who it is for: shown beside what they change
    #[arg(long, value_name = "NAME", requires = "role")]
    user: Option<String>,
    /// List the tokens that have a role
    #[arg(long, conflicts_with_all = ["role", "user", "revoke"])]
    list: bool,
    /// End a token that has a role, and the sessions that were got by it
    #[arg(long, value_name = "ID", conflicts_with_all = ["role", "user"])]
    revoke: Option<String>,
    /// How long it is good for, e.g. 10m [default: 10m, or 24h with --role]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Viewer,
    Operator,
    Admin,
}

/// Of a join token.
const LIFETIME: Duration = Duration::from_secs(600);
const TOKENS: &str = "/taut/v1/access/tokens";

pub async fn token(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    if arguments.list {
        return list(&api, arguments.output).await;
    }
    if let Some(id) = &arguments.revoke {
        return revoke(&api, id).await;
    }
    let (token, whole) = match (arguments.role, &arguments.user) {
        (Some(role), Some(user)) => for_a_person(&api, role, user, arguments.ttl).await?,
        _ => {
            let ttl = arguments.ttl.unwrap_or(LIFETIME);
            let token = mint(&api, &arguments.namespace, &arguments.service_account, ttl).await?;
            let whole = json!({ "token": token, "ttlSeconds": ttl.as_secs() });
            (token, whole)
        }
    };
    match arguments.output {
        Format::Table => output::print(&format!("{token}\n")),
        format => output::structured(format, &whole),
    }
}

async fn for_a_person(api: &Api, role: Role, user: &str, ttl: Option<Duration>) -> Outcome<(String, Value)> {
    let role = format!("{role:?}").to_lowercase();
    let body = json!({ "role": role, "user": user, "ttlSeconds": ttl.map(|ttl| ttl.as_secs()) });
    let value = api.post(TOKENS, &body).await?.good()?;
    let token = value["token"].as_str().map(str::to_owned);
    token.map(|token| (token, value)).ok_or_else(|| Failure::cannot("the control plane answered without a token"))
}

async fn list(api: &Api, format: Format) -> Outcome {
    let answer = api.get(TOKENS).await?.good()?;
    if format != Format::Table {
        return output::structured(format, &answer);
    }
    let tokens = answer["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |token: &Value| ["id", "user", "role", "issued", "expires"].map(|field| token[field].as_str().unwrap_or_default().to_owned()).to_vec();
    output::print(&output::table(&["id", "user", "role", "issued", "expires"], tokens.iter().map(row)))
}

async fn revoke(api: &Api, id: &str) -> Outcome {
    let path = format!("{TOKENS}/{}", crate::get::escape(id));
    api.send(Method::DELETE, &path, "application/json", "application/json", Vec::new()).await?.good()?;
    output::tell(&format!("token {id} revoked"));
    Ok(())
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
