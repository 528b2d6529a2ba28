//! The benchmark's scorer, version 1.1: what each row earns, the best threshold over many series, and the normalisation.

use crate::corpus::Series;

/// What a missed window and a false alarm weigh; a detection weighs 1.
#[derive(Clone, Copy)]
pub struct Profile {
    missed: f64,
    false_alarm: f64,
}

/// Standard, low false positives, low false negatives.
pub const PROFILES: [Profile; 3] =
    [Profile { missed: 1.0, false_alarm: 0.11 }, Profile { missed: 1.0, false_alarm: 0.22 }, Profile { missed: 2.0, false_alarm: 0.11 }];

/// What one series has to give: rows with their scores, the highest first, and what a detection there earns.
pub struct Card {
    rows: Vec<Row>,
    windows: usize,
}

struct Row {
    score: f64,
    window: Option<usize>,
    /// In a window: share of the whole. Outside: share of the cost, negative.
    earns: f64,
}

impl Card {
    pub fn new(series: &Series, scores: &[f64]) -> Self {
        let mut rows: Vec<Row> = (series.probation()..scores.len())
            .map(|row| {
                let window = series.windows.iter().position(|&(first, last)| (first..=last).contains(&row));
                Row { score: scores[row], window, earns: earns(series, row, window) }
            })
            .collect();
        rows.retain(|row| row.score > 0.0);
        rows.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self { rows, windows: series.windows.len() }
    }

    /// Points at a threshold: what scores as high or higher is a detection.
    pub fn points(&self, profile: Profile, threshold: f64) -> f64 {
        let mut best: Vec<f64> = vec![-profile.missed; self.windows];
        let mut points = 0.0;
        for row in self.rows.iter().take_while(|row| row.score >= threshold) {
            match row.window {
                Some(window) => best[window] = best[window].max(row.earns),
                None => points += profile.false_alarm * row.earns,
            }
        }
        points + best.iter().sum::<f64>()
    }

    /// Windows found and false alarms at a threshold.
    pub fn counts(&self, threshold: f64) -> (usize, usize) {
        let told: Vec<&Row> = self.rows.iter().take_while(|row| row.score >= threshold).collect();
        let mut found: Vec<usize> = told.iter().filter_map(|row| row.window).collect();
        found.sort_unstable();
        found.dedup();
        (found.len(), told.iter().filter(|row| row.window.is_none()).count())
    }

    pub fn windows(&self) -> usize {
        self.windows
    }
}

fn earns(series: &Series, row: usize, window: Option<usize>) -> f64 {
    if let Some((first, last)) = window.map(|window| series.windows[window]) {
        let width = (last - first + 1) as f64;
        return scaled_sigmoid(-((last - row + 1) as f64) / width) / scaled_sigmoid(-1.0);
    }
    let before = series.windows.iter().rev().find(|(_, last)| *last < row);
    before.map_or(-1.0, |(first, last)| scaled_sigmoid((row - last) as f64 / (last - first) as f64))
}

fn scaled_sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// The threshold that earns most over all the cards, and the points there.
pub fn best(cards: &[&Card], profile: Profile) -> (f64, f64) {
    // All rows of all cards, the highest first; what each adds when the threshold falls to it.
    let mut rows: Vec<(f64, usize, usize)> = Vec::new();
    for (card, it) in cards.iter().enumerate() {
        rows.extend(it.rows.iter().enumerate().map(|(row, it)| (it.score, card, row)));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut found: Vec<Vec<f64>> = cards.iter().map(|card| vec![-profile.missed; card.windows]).collect();
    let mut points: f64 = -profile.missed * cards.iter().map(|card| card.windows as f64).sum::<f64>();
    let mut best = (f64::INFINITY, points);
    for (at, &(score, card, row)) in rows.iter().enumerate() {
        let row = &cards[card].rows[row];
        match row.window {
            Some(window) => {
                let held = &mut found[card][window];
                points += (row.earns - *held).max(0.0);
                *held = held.max(row.earns);
            }
            None => points += profile.false_alarm * row.earns,
        }
        let last_of_its_score = rows.get(at + 1).is_none_or(|next| next.0 < score);
        if last_of_its_score && points > best.1 {
            best = (score, points);
        }
    }
    best
}

/// 0 for a detector that tells nothing, 100 for one that finds each window at its first row and nothing else.
pub fn normalised(points: f64, cards: &[&Card], profile: Profile) -> f64 {
    let windows = cards.iter().map(|card| card.windows as f64).sum::<f64>();
    100.0 * (points + profile.missed * windows) / (windows + profile.missed * windows)
}
