//! The newest records and what they were decided from, bounded, for `/records` and `taut why REQUEST-ID`.

use crate::evidence::Evidence;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use taut_observe::record::{ConnectionRecord, ExchangeRecord};

/// A record and what is needed to explain it.
pub struct Kept {
    pub record: Record,
    pub evidence: Option<Evidence>,
}

pub enum Record {
    Exchange(ExchangeRecord),
    Connection(ConnectionRecord),
}

impl Kept {
    /// The request id, or the connection id of a connection that carried no exchanges.
    pub fn id(&self) -> &str {
        match &self.record {
            Record::Exchange(record) => &record.request_id,
            Record::Connection(record) => &record.connection_id,
        }
    }

    /// `{"record": …, "explanation": …, "text": …}`. The explanation is made by the plan that decided, not by today's.
    pub fn to_json(&self) -> Value {
        let explanation = self.evidence.as_ref().map(|evidence| evidence.plan.explain(&evidence.facts.as_facts(), Some(&evidence.rolls)));
        json!({
            "record": self.record_json(),
            "explanation": explanation.as_ref().map(|e| serde_json::to_value(e).unwrap_or_default()),
            "text": explanation.map(|e| e.to_string()),
        })
    }

    pub fn record_json(&self) -> Value {
        let record = match &self.record {
            Record::Exchange(record) => serde_json::to_value(record),
            Record::Connection(record) => serde_json::to_value(record),
        };
        // Records hold nothing that JSON cannot say.
        record.unwrap_or_default()
    }
}

/// Bounded; the oldest goes first. Finding is a scan, newest first: it is done for a person, pushing for every exchange.
pub struct Ring {
    limit: usize,
    kept: Mutex<VecDeque<Arc<Kept>>>,
}

impl Ring {
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::new(VecDeque::new()) }
    }

    pub fn push_exchange(&self, record: ExchangeRecord, evidence: Evidence) {
        self.push(Kept { record: Record::Exchange(record), evidence: Some(evidence) });
    }

    pub fn push_connection(&self, record: ConnectionRecord, evidence: Option<Evidence>) {
        self.push(Kept { record: Record::Connection(record), evidence });
    }

    fn push(&self, kept: Kept) {
        if self.limit == 0 {
            return;
        }
        let kept = Arc::new(kept);
        // What falls out is freed after the lock.
        let oldest = {
            let mut ring = self.kept.lock();
            let oldest = if ring.len() >= self.limit { ring.pop_front() } else { None };
            ring.push_back(kept);
            oldest
        };
        drop(oldest);
    }

    /// Newest first. A request that came in and caused others has several records under one id.
    pub fn find(&self, id: &str) -> Vec<Arc<Kept>> {
        self.kept.lock().iter().rev().filter(|kept| kept.id() == id).cloned().collect()
    }

    /// The newest `count`, newest first.
    pub fn newest(&self, count: usize) -> Vec<Arc<Kept>> {
        self.kept.lock().iter().rev().take(count).cloned().collect()
    }
}
