//! Parameters of a request: from the query string or a form, times and durations as Prometheus reads them.

use super::evaluate::Times;
use super::series::Failure;
use jiff::Timestamp;
use std::time::Duration;

/// The most points of one series that a range query gives, as in Prometheus.
const MOST_POINTS: i64 = 11_000;
/// Milliseconds to either side of 1970 that a time may be: what a calendar of four digits holds.
const FARTHEST: f64 = 2.5e14;

/// Decoded pairs, in the order they were written; a name may come more than once.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// `application/x-www-form-urlencoded`, from each of these.
    pub fn read(written: &[&str]) -> Self {
        let pairs = written.iter().flat_map(|text| text.split('&')).filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// The parameter is missing.
    pub fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| invalid(name, "it is missing"))
    }

    /// A time in Unix milliseconds; without the parameter, `default`.
    ///
    /// # Errors
    /// It is no time.
    pub fn time(&self, name: &str, default: i64) -> Result<i64, Failure> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let ms = match text.parse::<f64>() {
            Ok(seconds) => (seconds * 1000.0).round(),
            Err(_) => match text.parse::<Timestamp>() {
                Ok(time) => time.as_millisecond() as f64,
                Err(_) => return Err(invalid(name, &format!("cannot parse {text:?} to a valid timestamp; write Unix seconds or RFC 3339"))),
            },
        };
        // NaN is in no range.
        if (-FARTHEST..=FARTHEST).contains(&ms) { Ok(ms as i64) } else { Err(invalid(name, &format!("{text:?} is no time that a calendar has"))) }
    }

    /// # Errors
    /// It is no duration.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        self.get(name)
            .map(|text| {
                duration(text).ok_or_else(|| invalid(name, &format!("cannot parse {text:?} to a valid duration; write seconds, or as in 1m30s")))
            })
            .transpose()
    }

    /// Start, end and step of a range query.
    ///
    /// # Errors
    /// One is missing or no time, or together they make too many points.
    pub fn times(&self) -> Result<Times, Failure> {
        let (start, end) = (self.need("start").and_then(|_| self.time("start", 0))?, self.need("end").and_then(|_| self.time("end", 0))?);
        if end < start {
            return Err(invalid("end", "end timestamp must not be before start time"));
        }
        self.need("step")?;
        let step = self.duration("step")?.map_or(0, |step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
        if step <= 0 {
            return Err(invalid("step", "zero or negative query resolution step widths are not accepted. Try a positive integer"));
        }
        if (end - start) / step > MOST_POINTS {
            return Err(Failure::BadData(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)".to_owned(),
            ));
        }
        Ok(Times { start, end, step })
    }
}

fn invalid(name: &str, why: &str) -> Failure {
    Failure::BadData(format!("invalid parameter {name:?}: {why}"))
}

/// Seconds, or numbers with units from years to milliseconds, in that order.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] =
        [("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut total, mut first) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = UNITS[first..].iter().position(|(unit, _)| *unit == &rest[digits..letters])? + first;
        total = total.checked_add(count.checked_mul(UNITS[unit].1)?)?;
        first = unit + 1;
        rest = &rest[letters..];
    }
    (total > 0).then(|| Duration::from_millis(total))
}

/// Percent signs and pluses; what is malformed stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let (byte, after) = match (first, others) {
            (b'+', _) => (b' ', others),
            (b'%', [high, low, after @ ..]) => match (hexadecimal(*high), hexadecimal(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', others),
            },
            _ => (*first, others),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_repeat() {
        let parameters = Parameters::read(&["match[]=up%7Bjob%3D%22a+b%22%7D&match%5B%5D=x", "time=1.5&empty=&bad=%zz%4"]);
        assert_eq!(parameters.all("match[]").collect::<Vec<_>>(), ["up{job=\"a b\"}", "x"]);
        assert_eq!(parameters.time("time", 0), Ok(1500));
        assert_eq!((parameters.get("empty"), parameters.get("bad")), (None, Some("%zz%4")));
        assert_eq!(parameters.time("none", 7), Ok(7));
    }

    #[test]
    fn times_and_durations_are_prometheus() {
        let read = |text: &str| Parameters::read(&[&format!("t={text}")]).time("t", 0);
        assert_eq!(read("2026-01-01T00:00:00.5Z"), Ok(1_767_225_600_500));
        assert_eq!(read("-1"), Ok(-1000));
        for bad in ["x", "NaN", "1e300", "-Inf"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let ms = |text: &str| duration(text).map(|duration| duration.as_millis());
        assert_eq!(
            [ms("15"), ms("0.5"), ms("1m30s"), ms("1d1ms"), ms("1y")],
            [Some(15_000), Some(500), Some(90_000), Some(86_400_001), Some(31_536_000_000)]
        );
        for bad in ["", "1x", "s", "1s1m", "0s", "-1", "99999999999999999999s", "1", "NaN"].into_iter().filter(|text| *text != "1") {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let times = |text: &str| Parameters::read(&[text]).times();
        assert_eq!(times("start=0&end=11000&step=1"), Ok(Times { start: 0, end: 11_000_000, step: 1000 }));
        assert!(times("start=0&end=11001&step=1").unwrap_err().to_string().contains("11,000 points"));
        assert!(times("start=1&end=0&step=1").unwrap_err().to_string().contains("must not be before"));
        assert!(times("start=0&end=1&step=0").unwrap_err().to_string().contains("zero or negative"));
        assert!(times("end=1&step=1").unwrap_err().to_string().contains("\"start\""));
    }
}
