//! How one JSON object changes another: the four patches of the Kubernetes API, and who owns which field.
//!
//! Pure functions over JSON values and a structural schema; nothing here knows kinds or stores anything.

pub mod apply;
pub mod fields;
pub mod json;
pub mod managed;
pub mod shape;
pub mod strategic;
#[cfg(test)]
mod tests;
pub mod typed;

use std::fmt;

/// A patch that cannot be used, and the field that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchError {
    /// `spec.http[0]` or a JSON pointer, as the patch's author wrote it; empty for the whole patch.
    pub path: String,
    pub message: String,
}

impl PatchError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        PatchError { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}
impl std::error::Error for PatchError {}

/// Puts a merged list in order: `wanted` gives the order of the elements that the change names; `others` are the rest, and
/// stay before an element that they stood before in `stored`. Elements are anything that tells them apart.
fn ordered<'a, T: PartialEq>(wanted: &'a [T], others: &'a [T], stored: &[T]) -> Vec<&'a T> {
    let place = |element: &T| stored.iter().position(|other| other == element);
    let mut out = Vec::with_capacity(wanted.len() + others.len());
    let (mut wanted, mut others) = (wanted.iter().peekable(), others.iter().peekable());
    while let (Some(next), Some(other)) = (wanted.peek(), others.peek()) {
        let other_first = matches!((place(other), place(next)), (Some(before), Some(after)) if before < after);
        out.extend(if other_first { others.next() } else { wanted.next() });
    }
    out.extend(wanted);
    out.extend(others);
    out
}
