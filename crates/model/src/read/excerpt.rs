//! The line a problem is about, with its number and a caret beneath the place.

use crate::problem::Problem;

/// Longer lines are cut around the caret.
const WIDEST: usize = 100;

/// Gives every problem that has a place its excerpt of `text`. Lines of a Secret are not shown.
pub fn attach(text: &str, problems: &mut [Problem]) {
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    let secret = in_secret(&lines);
    for problem in problems {
        let Some(location) = &problem.location else { continue };
        let Some(index) = usize::try_from(location.line).ok().and_then(|line| line.checked_sub(1)) else { continue };
        let hidden = match &problem.object {
            Some(object) => object.kind == "Secret",
            None => secret.get(index).copied().unwrap_or(true),
        };
        if !hidden && index < lines.len() {
            problem.excerpt = Some(excerpt(lines[index].trim_end_matches('\r'), location.line, location.column));
        }
    }
}

/// For each line, whether its document says that it is, or mentions, a Secret. By its text, as the document may not parse.
fn in_secret(lines: &[&str]) -> Vec<bool> {
    let mut secret = Vec::with_capacity(lines.len());
    let mut start = 0;
    for end in 1..=lines.len() {
        if end == lines.len() || lines[end].starts_with("---") {
            let says_so = lines[start..end].iter().any(|line| line.contains("kind") && line.contains("Secret"));
            secret.extend(std::iter::repeat_n(says_so, end - start));
            start = end;
        }
    }
    secret
}

fn excerpt(line: &str, number: u32, column: u32) -> String {
    let letters: Vec<char> = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let at = usize::try_from(column).unwrap_or(1).saturating_sub(1).min(letters.len());
    let start = if letters.len() > WIDEST { at.saturating_sub(WIDEST / 2) } else { 0 };
    let end = letters.len().min(start + WIDEST);
    let shown: String = letters[start..end].iter().collect();
    let number = number.to_string();
    let (gutter, before) = (" ".repeat(number.len()), " ".repeat(at - start));
    format!("  {gutter} |\n  {number} | {shown}\n  {gutter} | {before}{}", "^".repeat(word(&letters[at..end])))
}

/// How many letters the caret underlines: the word that starts here, at least one.
fn word(letters: &[char]) -> usize {
    let quote = letters.first().filter(|letter| matches!(letter, '"' | '\''));
    let length = match quote {
        Some(quote) => letters[1..].iter().position(|letter| letter == quote).map_or(1, |end| end + 2),
        None => letters.iter().position(|letter| letter.is_whitespace() || matches!(letter, ':' | ',' | '}' | ']')).unwrap_or(letters.len()),
    };
    length.max(1)
}
