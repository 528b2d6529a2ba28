//! Incidents of a recording: what the engine would have told, had it run then.

use super::Carried;
use super::changes::change;
use super::course::Course;
use super::promised::Promised;
use crate::recording::{Recording, Row, Unreadable};
use std::collections::BTreeMap;
use taut_insight::engine::Settings;
use taut_insight::incident::{Event, Incident};
use taut_model::signal::Second;

/// The incidents in a recording, the newest first, as they were at its end. `progress` is told how many row groups of how many are done.
///
/// # Errors
/// The recording is damaged.
pub fn replay(recording: &Recording, settings: Settings, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Incident>, Unreadable> {
    let about = recording.about();
    let mut course = Course::new(settings);
    let promised: Result<Vec<Promised>, _> = about.objectives.iter().cloned().map(serde_json::from_value).collect();
    course.promise(promised.map_err(|error| Unreadable::Damaged(format!("its objectives cannot be understood: {error}")))?);
    course.announce(about.changes.iter().filter_map(change));
    course.announce(about.endpoints.iter().cloned());
    let mut incidents: BTreeMap<String, Incident> = BTreeMap::new();
    let mut take = |events: Vec<Event>| {
        for event in events {
            let (Event::Opened(incident) | Event::Updated(incident) | Event::Closed(incident)) = event;
            incidents.insert(incident.id.clone(), incident);
        }
    };
    let is_incomplete = |start: Second, span: Second| about.gaps.iter().any(|gap| gap.from < start.saturating_add(span) && gap.to > start);
    let mut bucket: (Second, Second, Vec<Carried>) = Default::default();
    recording.each_row(&(0..Second::MAX), progress, |Row { start, span, edge, signals }| {
        if start != bucket.0 && !bucket.2.is_empty() {
            let (start, span, edges) = std::mem::take(&mut bucket);
            take(course.bucket(start, span, is_incomplete(start, span), edges));
        }
        (bucket.0, bucket.1) = (start, span);
        bucket.2.push((edge, signals));
        Ok(())
    })?;
    let (start, span, edges) = bucket;
    if !edges.is_empty() {
        take(course.bucket(start, span, is_incomplete(start, span), edges));
    }
    take(course.quiet_to(about.window.end));
    let mut found: Vec<Incident> = incidents.into_values().collect();
    found.sort_by(|one, other| (other.opened, &other.id).cmp(&(one.opened, &one.id)));
    Ok(found)
}
