//! `sessionPersistence` of a rule or of a policy (GEP-1619).

use super::api;
use crate::translate::reader::Reader;
use crate::translate::values;
use taut_model::destination::{Persistence, SessionMark};

/// The name of a session's cookie or header where users give it none.
const SESSION: &str = "taut-session";

pub fn persistence(reader: &mut Reader<'_>, at: &str, written: api::SessionPersistence) -> Option<Persistence> {
    let (old_name, old_cookie) = (written.session_name, written.cookie_config);
    if old_cookie.is_some() && written.cookie.is_some() {
        reader.invalid(&format!("{at}.cookieConfig"), "stands beside cookie, which has replaced it");
    }
    let age = reader.positive_duration(&format!("{at}.absoluteTimeout"), written.absolute_timeout.as_deref());
    let by = match written.r#type.as_deref() {
        None | Some("Cookie") => {
            if written.header.is_some() {
                reader.invalid(&format!("{at}.header"), "stands beside type Cookie");
            }
            let cookie = written.cookie.or(old_cookie).unwrap_or_default();
            let permanent = match cookie.lifetime_type.as_deref() {
                None | Some("Session") => false,
                Some("Permanent") => true,
                Some(other) => {
                    reader.invalid(&format!("{at}.cookie.lifetimeType"), format_args!("{other:?} is neither Session nor Permanent"));
                    false
                }
            };
            match (permanent, age) {
                (true, None) => reader.invalid(&format!("{at}.absoluteTimeout"), "is missing: a Permanent cookie needs one"),
                (false, Some(_)) => {
                    let instead = "use cookie.lifetimeType Permanent, or remove it";
                    reader.unsupported_value(&format!("{at}.absoluteTimeout"), "a timeout of a cookie that lasts for the client's session", instead);
                }
                _ => {}
            }
            let name = cookie.name.or(old_name).unwrap_or_else(|| SESSION.to_owned());
            let path = cookie.path.unwrap_or_default();
            reader.taken(&format!("{at}.cookie.name"), values::cookie_name(&name));
            reader.taken(&format!("{at}.cookie.path"), values::cookie_text(&path));
            SessionMark::Cookie { name, path, ttl: age }
        }
        Some("Header") => {
            if age.is_some() {
                reader.unsupported_value(&format!("{at}.absoluteTimeout"), "a timeout with type Header", "remove it, or use a Permanent cookie");
            }
            let name = written.header.map(|header| header.name).or(old_name).unwrap_or_else(|| SESSION.to_owned());
            SessionMark::Header(reader.taken(&format!("{at}.header.name"), values::header_name(&name))?)
        }
        Some(other) => {
            reader.unsupported_value(&format!("{at}.type"), other, "use Cookie or Header");
            return None;
        }
    };
    Some(Persistence { origin: reader.origin(at), by })
}
