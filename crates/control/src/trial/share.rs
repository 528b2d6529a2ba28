//! Shares as fractions of whole numbers: compared exactly, shown exactly.

/// A number that a person wrote, in millionths.
pub fn parts(number: f64) -> u128 {
    // The cast saturates, and turns NaN into 0; the schema allows neither those nor what is below 0.
    (number * 1_000_000.0).round() as u128
}

/// Whether two fractions (part, whole) are one. A whole of 0 is equal to nothing but another.
pub fn same(one: (u128, u128), other: (u128, u128)) -> bool {
    if one.1 == 0 || other.1 == 0 {
        return one.1 == other.1;
    }
    reduced(one) == reduced(other)
}

/// `12.5 %`, or `1/3` where no short decimal says it.
pub fn percent(part: u128, whole: u128) -> String {
    let (part, whole) = reduced((part, whole));
    const DIGITS: u128 = 1_000_000;
    match (part * 100).checked_mul(DIGITS) {
        Some(scaled) if whole > 0 && scaled % whole == 0 => {
            let (full, rest) = (scaled / whole / DIGITS, scaled / whole % DIGITS);
            let rest = format!("{rest:06}");
            let rest = rest.trim_end_matches('0');
            if rest.is_empty() { format!("{full} %") } else { format!("{full}.{rest} %") }
        }
        _ => format!("{part}/{whole}"),
    }
}

fn reduced((part, whole): (u128, u128)) -> (u128, u128) {
    let (mut a, mut b) = (part, whole);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    // Of 0 and 0 there is no divisor.
    (part.checked_div(a).unwrap_or(part), whole.checked_div(a).unwrap_or(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        assert!(same((90, 100), (parts(9.0), parts(10.0))));
        assert!(same((0, 7), (0, 100)));
        assert!(!same((333_333, 1_000_000), (1, 3)));
        assert!(!same((1, 0), (1, 1)));
        assert_eq!((percent(1, 8), percent(1, 3), percent(0, 5), percent(5, 5)), ("12.5 %".into(), "1/3".into(), "0 %".into(), "100 %".into()));
    }
}
