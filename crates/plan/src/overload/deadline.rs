//! Until when an answer is of use: read from `grpc-timeout` and `x-envoy-expected-rq-timeout-ms`, and written into them again with
//! what is left.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

pub static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub static EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Time allowed from now on, as a request says it. Nothing is said by what cannot be read, and by a header that is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Duration);

impl Deadline {
    /// The shorter of what both headers say. 0 in Envoy's is no limit, as in Envoy; 0 in gRPC's is a deadline that is over.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let grpc = once(headers, &GRPC_TIMEOUT).and_then(grpc);
        let expected = once(headers, &EXPECTED).and_then(digits).filter(|ms| *ms > 0).map(Duration::from_millis);
        grpc.into_iter().chain(expected).min().map(Self)
    }

    /// Tells the next one how much is left. gRPC's header is written where it was, or where the request is gRPC; Envoy's always.
    pub fn write(left: Duration, is_grpc: bool, headers: &mut HeaderMap) {
        if is_grpc || headers.contains_key(&GRPC_TIMEOUT) {
            headers.insert(GRPC_TIMEOUT.clone(), grpc_value(left));
        }
        headers.insert(EXPECTED.clone(), milliseconds(left).into());
    }

    /// The same where a header is there already, and nowhere else.
    pub fn rewrite(left: Duration, headers: &mut HeaderMap) {
        if headers.contains_key(&GRPC_TIMEOUT) {
            headers.insert(GRPC_TIMEOUT.clone(), grpc_value(left));
        }
        if headers.contains_key(&EXPECTED) {
            headers.insert(EXPECTED.clone(), milliseconds(left).into());
        }
    }
}

/// Rounded up: 0 would be no limit.
fn milliseconds(left: Duration) -> u64 {
    u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

fn once<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?;
    values.next().is_none().then_some(only)?.to_str().ok()
}

/// As many digits as fit; a longer number is as good as none.
fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// gRPC over HTTP/2, "Timeout": at most 8 digits and a unit.
fn grpc(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = digits(number).filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// In the finest unit of which 8 digits are enough.
fn grpc_value(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M'), (3_600_000_000_000, 'H')];
    let nanoseconds = left.as_nanos();
    let (number, unit) = units.into_iter().map(|(size, unit)| (nanoseconds / size, unit)).find(|(number, _)| *number <= MOST).unwrap_or((MOST, 'H'));
    HeaderValue::from_str(&format!("{number}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("99999999H"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn both_headers_are_read_and_the_shorter_counts() {
        let ms = |ms| Some(Deadline(Duration::from_millis(ms)));
        for (grpc, expected, want) in [
            (Some("1S"), None, ms(1000)),
            (Some("1S"), Some("250"), ms(250)),
            (Some("100m"), Some("250"), ms(100)),
            (Some("2H"), None, ms(7_200_000)),
            (Some("3M"), None, ms(180_000)),
            (Some("5000u"), None, ms(5)),
            (Some("5000000n"), None, ms(5)),
            (Some("0n"), None, ms(0)),
            (None, Some("0"), None),
            (None, Some("15"), ms(15)),
            (Some("999999999S"), None, None),
            (Some("S"), None, None),
            (Some(""), Some(""), None),
            (Some("-1S"), Some("-1"), None),
            (Some("1s"), Some("1.5"), None),
            (Some("1é"), None, None),
            (Some(&"9".repeat(1_000_000)), Some(&"9".repeat(1_000_000)), None),
        ] {
            let pairs: Vec<_> = grpc.map(|value| (&GRPC_TIMEOUT, value)).into_iter().chain(expected.map(|value| (&EXPECTED, value))).collect();
            assert_eq!(Deadline::read(&headers(&pairs)), want, "{:?}", pairs.iter().map(|(_, v)| &v[..v.len().min(9)]).collect::<Vec<_>>());
        }
        let mut twice = headers(&[(&GRPC_TIMEOUT, "1S")]);
        twice.append(GRPC_TIMEOUT.clone(), HeaderValue::from_static("2S"));
        assert_eq!(Deadline::read(&twice), None);
    }

    #[test]
    fn a_deadline_is_written_where_it_was() {
        let mut plain = headers(&[]);
        Deadline::write(Duration::from_micros(1500), false, &mut plain);
        assert_eq!(plain, headers(&[(&EXPECTED, "2")]));
        let mut grpc = headers(&[(&GRPC_TIMEOUT, "1S"), (&EXPECTED, "9")]);
        Deadline::write(Duration::from_millis(700), false, &mut grpc);
        assert_eq!(grpc, headers(&[(&GRPC_TIMEOUT, "700000u"), (&EXPECTED, "700")]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_no_more_than_is_left(nanoseconds in 0_u64..u64::MAX) {
            let left = Duration::from_nanos(nanoseconds);
            let mut headers = HeaderMap::new();
            Deadline::write(left, true, &mut headers);
            headers.remove(&EXPECTED);
            let read = Deadline::read(&headers).map(|deadline| deadline.0).unwrap();
            prop_assert!(read <= left && read.as_secs_f64() >= left.as_secs_f64() * 0.999_999 - 1e-9, "{left:?} {read:?}");
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,20}") {
            let _ = (grpc(&text), digits(&text));
        }
    }
}
