//! Telling: an incident in plain sentences, each rendered from evidence and linked to it. Nothing is said that the evidence does not say.

mod evidence;
mod next;
mod symptom;
#[cfg(test)]
mod tests;
mod words;

pub use evidence::sentence;

use crate::incident::{Cause, Evidence, Incident, Place, Symptom, Verdict};
use serde::{Deserialize, Serialize};
use words::{percent, place};

/// An incident as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// One line, without a full stop.
    pub title: String,
    /// Who is hurt, how much, and why.
    pub summary: String,
    pub lines: Vec<Line>,
}

/// A sentence with the evidence that it rests on: `1` is what is shown as `e1`, as [`numbered`] counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub text: String,
    pub evidence: Vec<usize>,
}

impl Line {
    fn plain(text: String) -> Self {
        Self { text, evidence: Vec::new() }
    }
}

/// All evidence of an incident by its number, from 1 on, with the cause it speaks for.
pub fn numbered(incident: &Incident) -> impl Iterator<Item = (usize, &Cause, &Evidence)> {
    let all = incident.causes.iter().flat_map(|cause| cause.evidence.iter().map(move |evidence| (cause, evidence)));
    all.enumerate().map(|(at, (cause, evidence))| (at + 1, cause, evidence))
}

pub fn tell(incident: &Incident) -> Story {
    let mut lines: Vec<Line> = incident.symptoms.iter().map(|symptom| Line::plain(symptom::sentence(symptom))).collect();
    let mut first = 1;
    for (at, cause) in incident.causes.iter().enumerate() {
        lines.extend(told(at, cause, first));
        first += cause.evidence.len();
    }
    lines.extend(verdict(incident).map(Line::plain));
    lines.extend(next::commands(incident).into_iter().map(|command| Line::plain(format!("Next: {command}"))));
    Story { title: title(incident), summary: summary(incident), lines }
}

/// A cause with what speaks for it, and whom that rules out.
fn told(at: usize, cause: &Cause, first: usize) -> Vec<Line> {
    let numbers = || first..first + cause.evidence.len();
    let certainty = format!("causes that looked like this were right {} times in 100", words::count(100.0 * cause.confidence.clamp(0.0, 1.0)));
    let head = format!("{}. {}: that explains {} of the hurt; {certainty}.", at + 1, claim(cause), percent(cause.share));
    let mut lines = vec![Line { text: head, evidence: numbers().collect() }];
    let (mut well, mut numbers_of_well) = (Vec::new(), Vec::new());
    for (number, evidence) in numbers().zip(&cause.evidence) {
        match evidence {
            Evidence::Well { node } => {
                well.push(node.to_string());
                numbers_of_well.push(number);
            }
            other => lines.push(Line { text: sentence(other), evidence: vec![number] }),
        }
    }
    if !well.is_empty() {
        let (verb, whom) = if well.len() == 1 { ("is", "it is not that one") } else { ("are", "it is none of them") };
        lines.push(Line { text: format!("{} {verb} as well as ever: {whom}.", words::list(&well)), evidence: numbers_of_well });
    }
    lines
}

/// `shop/ratings is slow`.
fn claim(cause: &Cause) -> String {
    match &cause.place {
        Place::Link(source, destination) => words::between(cause.kind, source, destination),
        other => format!("{} {}", place(other), words::is(cause.kind)),
    }
}

fn title(incident: &Incident) -> String {
    let hurt = format!("{} {}", incident.subject, incident.symptoms.first().map_or("is not well", symptom::short));
    match (incident.verdict, incident.causes.first()) {
        (Verdict::Found | Verdict::OutsideMesh, Some(cause)) if is_subject(incident, &cause.place) => claim(cause),
        (Verdict::Found | Verdict::OutsideMesh, Some(cause)) => format!("{hurt}: {}", claim(cause)),
        (Verdict::TooEarly, _) => format!("{hurt}; it is too early to say why"),
        _ => format!("{hurt}; nothing in the mesh explains it"),
    }
}

fn is_subject(incident: &Incident, place: &Place) -> bool {
    matches!(place, Place::Service(node) | Place::Part(node, _) if *node == incident.subject)
}

fn summary(incident: &Incident) -> String {
    let worst = incident.symptoms.iter().max_by(|a, b| a.surprise.total_cmp(&b.surprise));
    let since = format!("since {}", words::clock(incident.began));
    let lasted = match incident.closed {
        Some(closed) => format!("from {} on, for {}", words::clock(incident.began), words::seconds(closed.saturating_sub(incident.began) as f64)),
        None => since,
    };
    let what = worst.map_or_else(String::new, |worst: &Symptom| format!(" {}", symptom::sentence(worst)));
    let hurt = match incident.hurt {
        0 => "No request was hurt yet".to_owned(),
        1 => "1 request was hurt".to_owned(),
        many => format!("{} requests were hurt", words::count(many as f64)),
    };
    let why = match (incident.verdict, incident.causes.first()) {
        (Verdict::Found | Verdict::OutsideMesh, Some(cause)) => format!(" Likeliest cause: {}.", claim(cause)),
        _ => String::new(),
    };
    format!("{hurt} {lasted}.{what}{why}")
}

/// What there is to say beside the causes.
fn verdict(incident: &Incident) -> Option<String> {
    match incident.verdict {
        Verdict::Found => None,
        Verdict::OutsideMesh => {
            Some("That is no part of the mesh: no proxy stands beside it, so more than what its callers see is not known.".into())
        }
        Verdict::NoCause => Some("No service, link or version in the mesh is off by enough to explain it.".into()),
        Verdict::TooEarly => Some("Too few requests have been seen to say more.".into()),
    }
}
