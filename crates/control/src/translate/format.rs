//! Envoy's format operators in header values (`%REQ(x-a?x-b):20%`): those that a sidecar can answer for become parts of a computed header,
//! the others are refused by name.

use super::values;
use taut_model::route::{HeaderPiece, Piece};

/// Whose headers a value is for: responses are not there yet when a request is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Request,
    Response,
}

/// Why a value cannot be put together.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The operator, and what to write instead.
    Unsupported(String, &'static str),
    Invalid(String),
}

/// The parts of a value: one text where nothing is computed. `%%` is a percent sign.
pub fn pieces(written: &str, of: Of) -> Result<Vec<Piece>, Wrong> {
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), written);
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let Some((operator, after)) = after.split_once('%') else {
            return Err(Wrong::Invalid(format!("{written:?} has a single percent sign: write %% for one, or close the operator")));
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(piece(operator, of)?);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn piece(operator: &str, of: Of) -> Result<Piece, Wrong> {
    let arguments = |name: &str| operator.strip_prefix(name).and_then(|rest| rest.strip_prefix('('));
    if let Some(arguments) = arguments("REQ") {
        return header(operator, arguments, &[":method", ":path", ":authority", ":scheme"]).map(Piece::RequestHeader);
    }
    if let Some(arguments) = arguments("RESP") {
        return match of {
            Of::Request => Err(Wrong::Unsupported(format!("%{operator}% in a request"), "use %REQ(name)%, since there is no response yet")),
            Of::Response => header(operator, arguments, &[]).map(Piece::ResponseHeader),
        };
    }
    // The program beside the sidecar is connected to it directly.
    Ok(match operator {
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Piece::ClientAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Piece::ClientIp,
        "PROTOCOL" => Piece::Protocol,
        _ => {
            let instead = "use %REQ(name)%, %RESP(name)%, %DOWNSTREAM_REMOTE_ADDRESS%, %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%, %PROTOCOL% \
                           or a fixed value, and %% for a percent sign";
            return Err(Wrong::Unsupported(format!("the format operator %{operator}%"), instead));
        }
    })
}

/// `name)`, `name?other)`, `name):20`
fn header(operator: &str, arguments: &str, pseudo: &[&str]) -> Result<HeaderPiece, Wrong> {
    let invalid = |because: String| Wrong::Invalid(format!("%{operator}%: {because}"));
    let (names, most) = match arguments.rsplit_once(')') {
        Some((names, "")) => (names, None),
        Some((names, most)) => {
            let most = most.strip_prefix(':').and_then(|most| most.parse::<u32>().ok());
            (names, Some(most.ok_or_else(|| invalid("behind the names stands a length such as :20, or nothing".to_owned()))?))
        }
        None => return Err(invalid("is not closed: write %REQ(name)%".to_owned())),
    };
    let name = |written: &str| {
        let lower = written.to_ascii_lowercase();
        if pseudo.contains(&lower.as_str()) { Ok(lower) } else { values::header_name(written).map_err(invalid) }
    };
    let (first, otherwise) = names.split_once('?').map_or((names, None), |(first, otherwise)| (first, Some(otherwise)));
    Ok(HeaderPiece { name: name(first)?, otherwise: otherwise.map(name).transpose()?, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn named(name: &str, otherwise: Option<&str>, most: Option<u32>) -> HeaderPiece {
        HeaderPiece { name: name.to_owned(), otherwise: otherwise.map(str::to_owned), most }
    }

    #[test]
    fn operators_are_read_as_envoy_reads_them() {
        for (written, want) in [
            ("", vec![text("")]),
            ("100%%", vec![text("100%")]),
            ("%%REQ(a)%%", vec![text("%REQ(a)%")]),
            ("a-%REQ(X-A)%-b", vec![text("a-"), Piece::RequestHeader(named("x-a", None, None)), text("-b")]),
            ("%REQ(x-a?:AUTHORITY):7%", vec![Piece::RequestHeader(named("x-a", Some(":authority"), Some(7)))]),
            ("%RESP(server)%%PROTOCOL%", vec![Piece::ResponseHeader(named("server", None, None)), Piece::Protocol]),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", vec![Piece::ClientAddress]),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", vec![Piece::ClientIp]),
        ] {
            assert_eq!(pieces(written, Of::Response), Ok(want), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let unsupported = |written, of| matches!(pieces(written, of), Err(Wrong::Unsupported(..)));
        for written in ["%START_TIME%", "%UPSTREAM_HOST%", "%DYNAMIC_METADATA(a:b)%", "%ENVIRONMENT(HOME)%", "%FILE_CONTENT(/etc/passwd)%", "%X%"] {
            assert!(unsupported(written, Of::Request), "{written}");
        }
        assert!(unsupported("%RESP(a)%", Of::Request) && !unsupported("%RESP(a)%", Of::Response));
        for written in ["50%", "%REQ(a b)%", "%REQ(a%", "%REQ(a)x%", "%REQ(a):x%", "%REQ()%", "%REQ(:status)%", "%RESP(:path)%"] {
            assert!(matches!(pieces(written, Of::Response), Err(Wrong::Invalid(_))), "{written}");
        }
    }
}
