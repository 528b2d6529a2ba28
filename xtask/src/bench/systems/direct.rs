//! No proxy at all: what load generator, wire and backend cost by themselves.

use crate::bench::process::Spec;
use crate::bench::system::{Entries, Ports, Site, System};

pub struct Direct;

impl System for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn server(&self, _site: &Site, _ports: &Ports) -> Result<Option<Spec>, String> {
        Ok(None)
    }

    fn client(&self, _site: &Site, _ports: &Ports) -> Result<Option<Spec>, String> {
        Ok(None)
    }

    fn entries(&self, site: &Site, _ports: &Ports) -> Entries {
        site.backend()
    }
}
