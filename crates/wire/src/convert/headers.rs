//! Header changes: what is set, added and removed, and values that are only known with the exchange.

use super::field::{Malformed, encoded, list};
use crate::generated::mesh as proto;
use taut_model::route as model;

pub(super) fn to_pairs(pairs: &[(String, String)]) -> Vec<proto::Header> {
    pairs.iter().map(|(name, value)| proto::Header { name: name.clone(), value: value.clone() }).collect()
}

pub(super) fn pairs(headers: Vec<proto::Header>) -> Vec<(String, String)> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

/// No change is no message.
pub(super) fn to_header_change(change: &model::HeaderChange) -> Option<proto::HeaderChange> {
    let headers = |list: &[(String, String)]| -> Vec<_> {
        list.iter().map(|(name, value)| proto::Header { name: name.clone(), value: value.clone() }).collect()
    };
    (!change.is_empty()).then(|| proto::HeaderChange {
        set: headers(&change.set),
        add: headers(&change.add),
        remove: change.remove.clone(),
        computed: encoded(&change.computed),
    })
}

pub(super) fn header_change(field: &str, change: Option<proto::HeaderChange>) -> Result<model::HeaderChange, Malformed> {
    let headers = |list: Vec<proto::Header>| list.into_iter().map(|header| (header.name, header.value)).collect();
    let change = change.unwrap_or_default();
    let computed = list("computed", change.computed).map_err(|fault| fault.inside(field))?;
    Ok(model::HeaderChange { set: headers(change.set), add: headers(change.add), remove: change.remove, computed })
}

impl From<&model::ComputedHeader> for proto::ComputedHeader {
    fn from(header: &model::ComputedHeader) -> Self {
        Self { name: header.name.clone(), add: header.how == model::HowChanged::Add, value: encoded(&header.value) }
    }
}

impl TryFrom<proto::ComputedHeader> for model::ComputedHeader {
    type Error = Malformed;
    fn try_from(header: proto::ComputedHeader) -> Result<Self, Malformed> {
        let how = if header.add { model::HowChanged::Add } else { model::HowChanged::Set };
        Ok(Self { name: header.name, how, value: list("value", header.value)? })
    }
}

impl From<&model::Piece> for proto::Piece {
    fn from(piece: &model::Piece) -> Self {
        use proto::piece::What;
        let header =
            |header: &model::HeaderPiece| proto::HeaderPiece { name: header.name.clone(), otherwise: header.otherwise.clone(), most: header.most };
        let what = match piece {
            model::Piece::Text(text) => What::Text(text.clone()),
            model::Piece::RequestHeader(said) => What::RequestHeader(header(said)),
            model::Piece::ResponseHeader(said) => What::ResponseHeader(header(said)),
            model::Piece::ClientAddress => What::ClientAddress(()),
            model::Piece::ClientIp => What::ClientIp(()),
            model::Piece::Protocol => What::Protocol(()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<proto::Piece> for model::Piece {
    type Error = Malformed;
    fn try_from(piece: proto::Piece) -> Result<Self, Malformed> {
        use proto::piece::What;
        let header = |header: proto::HeaderPiece| model::HeaderPiece { name: header.name, otherwise: header.otherwise, most: header.most };
        Ok(match piece.what {
            None => return Err(Malformed::unspecified("")),
            Some(What::Text(text)) => Self::Text(text),
            Some(What::RequestHeader(said)) => Self::RequestHeader(header(said)),
            Some(What::ResponseHeader(said)) => Self::ResponseHeader(header(said)),
            Some(What::ClientAddress(())) => Self::ClientAddress,
            Some(What::ClientIp(())) => Self::ClientIp,
            Some(What::Protocol(())) => Self::Protocol,
        })
    }
}
