//! `tautline.dev/hedging` on a route: second copies of the slow requests of its rules, whatever the mesh's settings say.

use super::reader::Reader;
use taut_model::route::Hedging;

const ANNOTATION: &str = "tautline.dev/hedging";
/// Second copies cost what first ones do.
pub const MOST_PERCENT: f64 = 20.0;

/// `Disabled`, or the most percent of copies: `5`.
pub fn annotated(reader: &mut Reader<'_>) -> Option<Hedging> {
    let written = reader.annotation(ANNOTATION)?;
    let at = format!("metadata.annotations.{ANNOTATION}");
    let percent = match written {
        "Disabled" => Some(0.0),
        number => number.trim_end_matches('%').parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= MOST_PERCENT),
    };
    let wrong = || format!("{written:?} is neither Disabled nor a percentage above 0 and at most {MOST_PERCENT}");
    let percent = reader.taken(&at, percent.ok_or_else(wrong))?;
    Some(Hedging { origin: reader.origin(&at), percent })
}
