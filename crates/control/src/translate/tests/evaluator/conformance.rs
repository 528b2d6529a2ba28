//! Every field of AuthorizationPolicy in every form, decided one by one; `docs/authorization.md` shows the outcome, and is held against it.

use super::authorization::{Asked, Visit};
use super::*;
use std::fmt::Write;
use taut_model::identity::Identity;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authorization.md");
const BEGINS: &str = "<!-- from here on written by the test that decides it -->\n";
const ENDS: &str = "<!-- up to here -->\n";
/// Set to have the page written.
const WRITE: &str = "TAUT_WRITE_DOCS";

#[derive(Clone, Copy)]
enum Place {
    Source,
    Operation,
    When,
}

struct Field {
    place: Place,
    name: &'static str,
    /// What the visit has, and what it has not.
    value: &'static str,
    other: &'static str,
    /// Takes what the field is about away from the visit, where a visit can be without it.
    without: Option<fn(&mut Visit)>,
    /// A hop that sees no HTTP does not see it.
    of_http: bool,
}

fn nobody(visit: &mut Visit) {
    visit.identity = None;
}

fn tokenless(visit: &mut Visit) {
    visit.request.as_mut().unwrap().token = None;
}

fn headless(visit: &mut Visit) {
    visit.request.as_mut().unwrap().headers.clear();
}

fn unseen(visit: &mut Visit) {
    visit.request = None;
}

const fn field(place: Place, name: &'static str, value: &'static str, other: &'static str) -> Field {
    Field { place, name, value, other, without: None, of_http: false }
}

impl Field {
    const fn without(self, without: fn(&mut Visit)) -> Self {
        Self { without: Some(without), ..self }
    }

    const fn http(self) -> Self {
        Self { of_http: true, ..self }
    }
}

const FIELDS: &[Field] = {
    use Place::{Operation, Source, When};
    &[
        field(Source, "principals", "mesh.local/ns/default/sa/web", "mesh.local/ns/shop/sa/cart").without(nobody),
        field(Source, "namespaces", "default", "shop").without(nobody),
        field(Source, "serviceAccounts", "default/web", "shop/cart").without(nobody),
        field(Source, "trustDomains", "mesh.local", "old.local").without(nobody),
        field(Source, "requestPrincipals", "https://a/ada", "https://b/bob").without(tokenless).http(),
        field(Source, "ipBlocks", "192.168.0.9", "203.0.113.0/24"),
        field(Source, "remoteIpBlocks", "192.168.0.0/24", "203.0.113.7"),
        field(Operation, "hosts", "productpage", "reviews").http(),
        field(Operation, "ports", "9080", "9090"),
        field(Operation, "methods", "GET", "POST").http(),
        field(Operation, "paths", "/a/b", "/c/d").http(),
        field(Operation, "paths", "/a/{*}", "/{*}/d").http(),
        field(Operation, "paths", "/a/{**}", "/c/{**}").http(),
        field(When, "request.headers[x-team]", "blue", "red").without(headless).http(),
        field(When, "request.auth.principal", "https://a/ada", "https://b/bob").without(tokenless).http(),
        field(When, "request.auth.audiences", "shop", "desk").without(tokenless).http(),
        field(When, "request.auth.presenter", "app", "other").without(tokenless).http(),
        field(When, "request.auth.claims[role]", "admin", "user").without(tokenless).http(),
        field(When, "request.auth.claims[realm][roles]", "admin", "user").without(tokenless).http(),
        field(When, "source.ip", "192.168.0.9", "203.0.113.0/24"),
        field(When, "remote.ip", "192.168.0.0/24", "203.0.113.7"),
        field(When, "source.namespace", "default", "shop").without(nobody),
        field(When, "source.principal", "mesh.local/ns/default/sa/web", "mesh.local/ns/shop/sa/cart").without(nobody),
        field(When, "source.serviceAccount", "default/web", "shop/cart").without(nobody),
        field(When, "source.trustDomain", "mesh.local", "old.local").without(nobody),
        field(When, "destination.ip", "10.0.0.1", "10.0.0.2"),
        field(When, "destination.port", "9080", "9090"),
        field(When, "connection.sni", "productpage.default.svc.cluster.local", "reviews.default.svc.cluster.local").without(nobody),
    ]
};

fn visit() -> Visit {
    let token = json!({"iss": "https://a", "sub": "ada", "aud": ["shop"], "azp": "app", "role": ["admin"], "realm": {"roles": "admin"}});
    let headers = vec![("x-team", "blue")];
    let identity = Some(Identity::new(authorization::TRUST_DOMAIN, "default", "web"));
    let request = Some(Asked { method: "GET", authority: "productpage:9080", path: "/a/b", headers, token: Some(token) });
    Visit { identity, address: "192.168.0.9", client: "192.168.0.9", port: 9080, names: &[super::authorization::TRUST_DOMAIN], request }
}

fn rule(field: &Field, value: &str, negated: bool) -> Value {
    let mut fields = json!({});
    match field.place {
        Place::When => {
            fields = json!({"key": field.name});
            fields[if negated { "notValues" } else { "values" }] = json!([value]);
            json!({"when": [fields]})
        }
        Place::Source | Place::Operation => {
            let name = if negated { authorization::negated(field.name) } else { field.name.to_owned() };
            fields[name] = json!([value]);
            match field.place {
                Place::Source => json!({"from": [{"source": fields}]}),
                Place::Operation | Place::When => json!({"to": [{"operation": fields}]}),
            }
        }
    }
}

/// Whether a rule of this action matches; `None`: it is refused.
fn matches(action: &str, rule: &Value, visit: &Visit) -> Option<bool> {
    let policy = named("AuthorizationPolicy", "p", json!({"action": action, "rules": [rule]}));
    if !errors(&admit(&policy)).is_empty() {
        return None;
    }
    let issuer = json!({"issuer": "https://a", "jwks": r#"{"keys": [{"kty": "OKP"}]}"#});
    let plan = plan(vec![policy, named("RequestAuthentication", "tokens", json!({"jwtRules": [issuer]}))]);
    Some(lets_in(&plan, visit) == (action == "ALLOW"))
}

fn cell(field: &Field, value: &str, negated: bool, change: impl Fn(&mut Visit)) -> String {
    let mut visit = visit();
    change(&mut visit);
    let rule = rule(field, value, negated);
    match (matches("ALLOW", &rule, &visit), matches("DENY", &rule, &visit)) {
        (None, None) => "refused".to_owned(),
        (Some(true), Some(true)) => "✓".to_owned(),
        (Some(false), Some(false)) => "✗".to_owned(),
        (Some(false), Some(true)) => "ALLOW ✗, DENY ✓".to_owned(),
        weaker => panic!("{} {value}: {weaker:?}: weaker than it reads", field.name),
    }
}

fn row(field: &Field) -> String {
    // A template is a form of its own, and stands for the exact one.
    let plain = !field.value.contains('{');
    let half = field.value.len() / 2;
    let (start, end) = if plain { field.value.split_at(half) } else { ("", "") };
    let as_it_is = |_: &mut Visit| ();
    let pattern = |value: String| if plain { cell(field, &value, false, as_it_is) } else { "–".to_owned() };
    let lacking = |negated| field.without.map_or("–".to_owned(), |without| cell(field, field.value, negated, without));
    let hidden = |negated| if field.of_http { cell(field, field.value, negated, unseen) } else { "–".to_owned() };
    let cells = [
        cell(field, field.value, false, as_it_is),
        cell(field, field.other, false, as_it_is),
        pattern(format!("{start}*")),
        pattern(format!("*{end}")),
        pattern("*".to_owned()),
        cell(field, field.value, true, as_it_is),
        cell(field, field.other, true, as_it_is),
        lacking(false),
        lacking(true),
        hidden(false),
        hidden(true),
    ];
    let written = if plain { String::new() } else { format!(" (`{}`)", field.value) };
    format!("| `{}`{written} | {} |", field.name, cells.join(" | "))
}

fn table() -> String {
    let mut text = String::from(
        "| field | has it | has another | `start*` | `*end` | `*` | not: has it | not: has another | has none | not: has none | no HTTP | not: no HTTP |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for field in FIELDS {
        writeln!(text, "{}", row(field)).unwrap();
    }
    text
}

#[test]
fn every_field_in_every_form_is_decided_as_the_page_says() {
    let table = table();
    // What each column is about, whatever the field.
    for line in table.lines().skip(2) {
        let cells: Vec<&str> = line.split(" | ").collect();
        assert_eq!((cells[1], cells[2], cells[6], cells[7]), ("✓", "✗", "✗", "✓"), "{line}");
        assert!(matches!(cells[8], "✗" | "–") && matches!(cells[9], "✓" | "–"), "{line}");
        let hidden = [cells[10], cells[11].trim_end_matches(" |")];
        assert!(hidden.iter().all(|cell| matches!(*cell, "–" | "ALLOW ✗, DENY ✓")), "{line}");
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGINS).unwrap();
    let (written, after) = rest.split_once(ENDS).unwrap();
    let wanted = format!("\n{table}\n");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PAGE, format!("{before}{BEGINS}{wanted}{ENDS}{after}")).unwrap();
    } else {
        assert!(written == wanted, "docs/authorization.md is stale: run this test with {WRITE}=1 and commit the page");
    }
}
