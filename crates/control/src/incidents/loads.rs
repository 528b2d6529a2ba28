//! How many requests each service gets, and will get: five-minute steps through the forecasters, and what became of what they said.

use crate::signals::{self, By, Filter};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use taut_insight::forecast::{Forecast, Forecaster, Settings};
use taut_insight::tick::{Node, Tick};
use taut_model::signal::Second;
use taut_observe::names;

/// Seconds of a step.
pub const STEP: Second = 300;
/// Services whose load is forecast: the first so many that are seen.
const MOST: usize = 2000;
/// So much of the past is learnt from at a start.
const PAST: Second = 2 * 86_400;
/// Steps that are shown: a day; and forecasts that are compared with what came.
const SHOWN: usize = 288;
/// Which of the forecasters' horizons is shown against what came.
const COMPARED: usize = 0;
/// A forecast needs as many steps as an hour has, to be one.
const READY: u64 = 12;

#[derive(Clone, Debug)]
struct Load {
    forecaster: Forecaster,
    requests: f64,
    history: VecDeque<(Second, f64)>,
    said: VecDeque<(Second, Forecast)>,
}

impl Load {
    fn new() -> Self {
        Self { forecaster: Forecaster::new(&Settings::default()), requests: 0.0, history: VecDeque::new(), said: VecDeque::new() }
    }

    /// A step is over: requests per second in it; `None`: nothing is known of it.
    fn step(&mut self, at: Second, rate: Option<f64>) {
        self.forecaster.observe(rate);
        if let Some(rate) = rate {
            push(&mut self.history, (at, rate));
        }
        if let Some(said) = self.forecaster.forecasts().nth(COMPARED) {
            push(&mut self.said, (at + STEP, said));
        }
    }

    /// What was said of each time that has come since, and what came: the mean over as many steps.
    fn compared(&self) -> Vec<(Second, Forecast, f64)> {
        let came = |at: Second, steps: usize| {
            let end = at + STEP * steps as Second;
            let rates: Vec<f64> = self.history.iter().filter(|(begin, _)| (at..end).contains(begin)).map(|(_, rate)| *rate).collect();
            (rates.len() == steps).then(|| rates.iter().sum::<f64>() / steps as f64)
        };
        self.said.iter().filter_map(|(at, said)| Some((*at, *said, came(*at, said.horizon)?))).collect()
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == SHOWN {
        list.pop_front();
    }
    list.push_back(item);
}

#[derive(Clone, Debug, Default)]
pub struct Loads {
    by: BTreeMap<Node, Load>,
    /// Where the step that is under way begins; 0 before the first.
    began: Second,
    /// Seconds of it that are known.
    known: Second,
}

impl Loads {
    /// Learns from what the store knows of the time before a second.
    pub fn learn_past(&mut self, signals: &signals::Store, before: Second) {
        let Some(oldest) = signals.oldest() else { return };
        let end = before / STEP * STEP;
        let start = oldest.max(end.saturating_sub(PAST)).div_ceil(STEP) * STEP;
        if start >= end {
            return;
        }
        let answer = signals.series(start..end, STEP, &Filter::default(), By::Service, MOST);
        for series in answer.series {
            let named = |label: &str| series.key.0.iter().find(|(name, _)| *name == label).map(|(_, value)| value.as_str());
            let (Some(namespace), Some(service)) = (named("namespace"), named("service")) else { continue };
            let load = self.by.entry(Node::new(namespace, service)).or_insert_with(Load::new);
            for point in &series.points {
                load.step(point.at, point.signals.as_ref().map(|signals| signals.requests as f64 / answer.step as f64));
            }
        }
    }

    pub fn observe(&mut self, tick: &Tick) {
        let began = tick.at / STEP * STEP;
        if began > self.began {
            self.end_step(began);
        }
        if !tick.incomplete {
            self.known += tick.span;
        }
        for flow in tick.flows.iter().filter(|flow| flow.counts_once()) {
            if self.by.len() < MOST || self.by.contains_key(&flow.destination) {
                self.by.entry(flow.destination.clone()).or_insert_with(Load::new).requests += flow.signals.requests as f64;
            }
        }
    }

    fn end_step(&mut self, next: Second) {
        // Half a step says enough of it.
        let known = (self.known * 2 >= STEP).then_some(self.known as f64);
        for load in self.by.values_mut() {
            let requests = std::mem::take(&mut load.requests);
            if self.began > 0 {
                load.step(self.began, known.map(|known| requests / known));
            }
        }
        (self.began, self.known) = (next, 0);
    }

    /// The services whose load is forecast.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.by.keys()
    }

    /// What is expected of a service; nothing of one that nobody asked.
    pub fn forecasts(&self, node: &Node) -> Vec<Forecast> {
        self.by.get(node).map(|load| load.forecaster.forecasts().collect()).unwrap_or_default()
    }

    pub fn shown(&self, node: &Node) -> Option<Value> {
        let load = self.by.get(node)?;
        let forecasts: Vec<Forecast> = load.forecaster.forecasts().collect();
        let compared = load.compared();
        let inside = compared.iter().filter(|(_, said, came)| (said.certain.low..=said.certain.high).contains(came)).count();
        let off: f64 = compared.iter().map(|(_, said, came)| (said.mean - came).abs()).sum();
        let came: f64 = compared.iter().map(|(_, _, came)| came).sum();
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let from = load.history.back().map_or(self.began, |(at, _)| at + STEP);
        let forecast = forecasts.iter().map(|said| {
            json!({
                "at": from + STEP * said.horizon as Second, "horizonSeconds": STEP * said.horizon as Second, "rate": said.mean,
                "low80": said.likely.low.max(0.0), "high80": said.likely.high, "low95": said.certain.low.max(0.0), "high95": said.certain.high,
            })
        });
        let experts = load
            .forecaster
            .experts(COMPARED)
            .into_iter()
            .map(|(expert, says, weight)| json!({"name": super::word(&expert), "says": says, "weight": weight}));
        let past = compared.iter().map(|(at, said, came)| {
            json!({"at": at, "predicted": said.mean, "actual": came, "low95": said.certain.low.max(0.0), "high95": said.certain.high})
        });
        Some(json!({
            "service": node.id(), "at": from, "step": STEP,
            "history": load.history.iter().map(|(at, rate)| json!({"at": at, "rate": rate})).collect::<Vec<_>>(),
            "forecast": forecast.collect::<Vec<_>>(), "experts": experts.collect::<Vec<_>>(), "past": past.collect::<Vec<_>>(),
            "coverage95": share(inside as f64, compared.len() as f64), "wape": share(off, came),
            "ready": forecasts.first().is_some_and(|said| said.tried >= READY),
        }))
    }

    /// As Prometheus text, for autoscalers among others.
    pub fn metrics(&self) -> String {
        let name = names::FORECAST_REQUESTS;
        let mut text =
            format!("# HELP {name} Requests per second that are expected on average over the next so many seconds.\n# TYPE {name} gauge\n");
        for (node, load) in &self.by {
            for said in load.forecaster.forecasts() {
                let bounds = [("low95", said.certain.low.max(0.0)), ("mean", said.mean), ("high95", said.certain.high)];
                for (bound, value) in bounds {
                    let (namespace, service, horizon) = (node.namespace(), node.name(), STEP * said.horizon as Second);
                    let _ = writeln!(
                        text,
                        "{name}{{namespace={namespace:?},service={service:?},horizon_seconds=\"{horizon}\",bound=\"{bound}\"}} {value}"
                    );
                }
            }
        }
        text
    }
}
