//! The newest records and what they were decided from, bounded, for `/records` and `taut why REQUEST-ID`.

use crate::evidence::Evidence;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use taut_observe::record::{ConnectionRecord, ExchangeRecord};
use taut_observe::text::Id;
use taut_plan::{Explanation, Plan};

/// How many plans the ring keeps alive at most. A plan is as large as the mesh it was made for; an explanation is a page.
const MOST_PLANS: usize = 8;

/// A record and what is needed to explain it.
#[derive(Clone)]
pub struct Kept {
    pub record: Record,
    why: Why,
}

#[allow(clippy::large_enum_variant, reason = "most are the large one, and a box would cost every exchange an allocation")]
#[derive(Clone)]
enum Why {
    /// It failed before there was anything to decide.
    Undecided,
    Evidence(Evidence),
    /// Made when its plan had to go.
    Explained(Arc<Explanation>),
}

#[derive(Clone)]
pub enum Record {
    Exchange(Arc<ExchangeRecord>),
    Connection(Arc<ConnectionRecord>),
}

impl Kept {
    /// The request id, or the connection id of a connection that carried no exchanges.
    pub fn id(&self) -> &Id {
        match &self.record {
            Record::Exchange(record) => &record.request_id,
            Record::Connection(record) => &record.connection_id,
        }
    }

    fn new(record: Record, evidence: Option<Evidence>) -> Self {
        Self { record, why: evidence.map_or(Why::Undecided, Why::Evidence) }
    }

    fn plan(&self) -> Option<&Arc<Plan>> {
        match &self.why {
            Why::Evidence(evidence) => Some(&evidence.plan),
            Why::Undecided | Why::Explained(_) => None,
        }
    }

    /// Made by the plan that decided, not by today's.
    fn explanation(&self) -> Option<Arc<Explanation>> {
        match &self.why {
            Why::Undecided => None,
            Why::Evidence(evidence) => Some(Arc::new(evidence.plan.explain(&evidence.facts.as_facts(), Some(&evidence.rolls)))),
            Why::Explained(explanation) => Some(explanation.clone()),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.record, &other.record) {
            (Record::Exchange(one), Record::Exchange(other)) => Arc::ptr_eq(one, other),
            (Record::Connection(one), Record::Connection(other)) => Arc::ptr_eq(one, other),
            (Record::Exchange(_), Record::Connection(_)) | (Record::Connection(_), Record::Exchange(_)) => false,
        }
    }

    /// `{"record": …, "explanation": …, "text": …}`.
    pub fn to_json(&self) -> Value {
        let explanation = self.explanation();
        json!({
            "record": self.record_json(),
            "explanation": explanation.as_deref().map(|e| serde_json::to_value(e).unwrap_or_default()),
            "text": explanation.map(|e| e.to_string()),
        })
    }

    pub fn record_json(&self) -> Value {
        self.record.to_json()
    }

    /// The values of a request's header that were kept: the plan looks at it, or a tap had asked for it.
    pub fn header(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        let http = match &self.why {
            Why::Evidence(evidence) => evidence.facts.http.as_ref(),
            Why::Undecided | Why::Explained(_) => None,
        };
        http.into_iter().flat_map(move |http| http.headers.get_all(name))
    }
}

impl Record {
    pub fn to_json(&self) -> Value {
        let record = match self {
            Self::Exchange(record) => serde_json::to_value(&**record),
            Self::Connection(record) => serde_json::to_value(&**record),
        };
        // Records hold nothing that JSON cannot say.
        record.unwrap_or_default()
    }
}

/// What came to the ring since a position.
pub struct Tapped {
    /// The position to go on from.
    pub next: u64,
    /// The oldest first.
    pub records: Vec<Kept>,
    /// How many have fallen out of the ring before they were asked for.
    pub missed: u64,
}

/// Bounded; the oldest goes first. At most [`MOST_PLANS`] plans are kept alive. Finding is a scan, newest first: it is done for a person, pushing for every exchange.
pub struct Ring {
    limit: usize,
    kept: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    records: VecDeque<Kept>,
    /// How many have come, in all.
    pushed: u64,
    /// The plans that records may hold, in the order of their first record.
    plans: VecDeque<Weak<Plan>>,
}

impl Ring {
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    pub fn push_exchange(&self, record: Arc<ExchangeRecord>, evidence: Evidence) {
        self.push(Kept::new(Record::Exchange(record), Some(evidence)));
    }

    pub fn push_connection(&self, record: ConnectionRecord, evidence: Option<Evidence>) {
        self.push(Kept::new(Record::Connection(Arc::new(record)), evidence));
    }

    fn push(&self, kept: Kept) {
        if self.limit == 0 {
            return;
        }
        // What falls out is freed, and what loses its plan is explained, outside the lock.
        let (oldest, parted) = {
            let mut ring = self.kept.lock();
            let parted = kept.plan().map(|plan| ring.note(plan)).unwrap_or_default();
            let oldest = if ring.records.len() >= self.limit { ring.records.pop_front() } else { None };
            ring.records.push_back(kept);
            ring.pushed += 1;
            (oldest, parted)
        };
        drop(oldest);
        for parted in parted {
            let explained = parted.explanation().map_or(Why::Undecided, Why::Explained);
            let mut ring = self.kept.lock();
            if let Some(kept) = ring.records.iter_mut().find(|kept| kept.is(&parted)) {
                kept.why = explained;
            }
        }
    }

    /// Newest first. A request that came in and caused others has several records under one id.
    pub fn find(&self, id: &str) -> Vec<Kept> {
        self.kept.lock().records.iter().rev().filter(|kept| kept.id().is(id)).cloned().collect()
    }

    /// What came after a position; nothing for 0, which stands for no position yet. Positions begin at 1.
    pub fn since(&self, position: u64) -> Tapped {
        let ring = self.kept.lock();
        let next = ring.pushed + 1;
        let come = if position == 0 { 0 } else { next.saturating_sub(position) };
        let kept = usize::try_from(come).unwrap_or(usize::MAX).min(ring.records.len());
        let records = ring.records.range(ring.records.len() - kept..).cloned().collect();
        Tapped { next, records, missed: come - kept as u64 }
    }

    /// The newest `count`, newest first.
    pub fn newest(&self, count: usize) -> Vec<Kept> {
        self.kept.lock().records.iter().rev().take(count).cloned().collect()
    }
}

impl Remembered {
    /// The records that have to let go of their plan, now that there is one of this plan.
    fn note(&mut self, plan: &Arc<Plan>) -> Vec<Kept> {
        // Nearly always it is the newest.
        if self.plans.iter().rev().any(|known| known.as_ptr() == Arc::as_ptr(plan)) {
            return Vec::new();
        }
        self.plans.push_back(Arc::downgrade(plan));
        if self.plans.len() <= MOST_PLANS {
            return Vec::new();
        }
        let Some(parting) = self.plans.pop_front() else { return Vec::new() };
        let of_it = |kept: &&Kept| kept.plan().is_some_and(|plan| Arc::as_ptr(plan) == parting.as_ptr());
        self.records.iter().filter(of_it).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::OwnedFacts;
    use taut_observe::record::{Edge, Party, Protocol, Reporter};
    use taut_observe::text::{Moment, Text};
    use taut_plan::verdict::Rolls;
    use taut_plan::{Direction, Facts, Peer, Snapshot};

    fn push(ring: &Ring, id: &str, plan: &Arc<Plan>) {
        let edge = Edge {
            reporter: Reporter::Source,
            source: Party::nobody(),
            destination: Party::nobody(),
            service_host: Text::default(),
            service_name: Text::default(),
            service_namespace: Text::default(),
            mutual_tls: false,
            protocol: Protocol::Tcp,
        };
        let record = ConnectionRecord {
            edge,
            started: Moment(jiff::Timestamp::UNIX_EPOCH),
            connection_id: Id::read(id),
            failure: None,
            received_bytes: 0,
            sent_bytes: 0,
            duration_us: 0,
            endpoint: Text::default(),
            plan: plan.version(),
            rule: None,
        };
        let facts = Facts { direction: Direction::Outbound, host: "10.0.0.1", port: 7000, http: None, peer: Peer::default(), sni: None };
        let facts = OwnedFacts::copy(&facts, plan);
        ring.push_connection(record, Some(Evidence { plan: plan.clone(), facts, rolls: Rolls::default() }));
    }

    fn plan(version: u64) -> Arc<Plan> {
        Arc::new(Plan::compile(&Snapshot { version, ..Snapshot::default() }))
    }

    #[test]
    fn few_plans_are_kept_alive_and_every_record_stays_explained() {
        let ring = Ring::new(100);
        let mut plans = Vec::new();
        for version in 1..=20 {
            let plan = plan(version);
            push(&ring, &format!("{version}-a"), &plan);
            push(&ring, &format!("{version}-b"), &plan);
            plans.push(Arc::downgrade(&plan));
        }
        let alive: Vec<_> = plans.iter().filter_map(Weak::upgrade).map(|plan| plan.version()).collect();
        assert_eq!(alive, (13..=20).collect::<Vec<_>>());
        let text = |id: &str| ring.find(id)[0].to_json()["text"].as_str().unwrap().to_owned();
        assert!(text("1-a").contains("10.0.0.1:7000"));
        assert_eq!(text("1-b"), text("20-a"));
    }

    #[test]
    fn a_record_of_an_old_plan_that_ends_late_does_not_bring_it_back_for_good() {
        let ring = Ring::new(100);
        let old = plan(1);
        push(&ring, "early", &old);
        for version in 2..=9 {
            push(&ring, "other", &plan(version));
        }
        push(&ring, "late", &old);
        let weak = Arc::downgrade(&old);
        drop(old);
        for version in 10..=17 {
            push(&ring, "other", &plan(version));
        }
        assert!(weak.upgrade().is_none());
        assert!(ring.find("late")[0].to_json()["explanation"].is_object());
    }
}
