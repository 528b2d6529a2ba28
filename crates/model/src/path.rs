//! Field paths as people read them: `spec.http[0].route`, `metadata.labels["app.kubernetes.io/name"]`.

/// The path of field `key` of the object at `parent`. A key that is not a plain word is quoted in brackets.
pub fn field(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'));
    match (plain, parent.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key:?}]"),
    }
}

/// The path of the item at `index` (from 0) of the list at `parent`.
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        assert_eq!(field("", "spec"), "spec");
        assert_eq!(field(&item("spec.http", 0), "route"), "spec.http[0].route");
        assert_eq!(field("metadata.labels", "app.kubernetes.io/name"), r#"metadata.labels["app.kubernetes.io/name"]"#);
    }
}
