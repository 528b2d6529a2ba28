//! Which headers hold secrets: nobody may ask for their values, whatever the role.

/// Credentials by the names that standards and common products give them.
const NAMES: &[&str] = &["authorization", "cookie", "set-cookie", "x-forwarded-client-cert", "x-csrf-token", "x-xsrf-token", "dpop", "jwt"];
/// What names of the others contain.
const PARTS: &[&str] =
    &["auth", "token", "secret", "passw", "credential", "session", "api-key", "apikey", "access-key", "private", "signature", "cookie"];

/// Whether a header's value is likely one that lets its holder in.
pub fn is_secret(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_from_other_headers() {
        for secret in ["Authorization", "proxy-authorization", "COOKIE", "x-api-key", "X-Amz-Security-Token", "x-session-id", "x-hub-signature-256"] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in ["x-user", "user-agent", "end-user", "x-request-id", "accept", "host", "x-forwarded-for", "x-tenant", "traceparent"] {
            assert!(!is_secret(open), "{open}");
        }
    }
}
