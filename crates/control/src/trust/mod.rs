//! Trust as the whole mesh has it: which proxy believes and holds what, when a rotation of the root may take its next step, what is near its
//! end. The keys are `authority`'s.

mod expiry;
pub mod routes;
mod sources;

pub use expiry::{Alarm, Leaf};
pub use sources::Sources;

use crate::audit::Audit;
use crate::authority::{Authority, Rotation, Stage, fingerprint, serial};
use crate::proxies::{Proxies, Proxy};
use crate::publish::Published;
use crate::signing::Signing;
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use taut_model::trust::serial_text;
use taut_wire::resource::ResourceType;
use tokio::sync::watch;
use tokio::time::Instant;

/// After a start, proxies need this long to come back. Until then it is not known whom a rotation has to wait for.
pub const COMING_BACK: Duration = Duration::from_secs(10);
/// How often files are looked at, and what nobody tells of.
const LOOK: Duration = Duration::from_secs(2);

/// Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    pub authority: Arc<Authority>,
    pub proxies: Proxies,
    pub published: watch::Receiver<Arc<Published>>,
    pub world: World,
    pub sources: Arc<Sources>,
    pub signing: Signing,
    /// From this time of the world on, proxies have had time to come back since the control plane's start.
    pub back_by: Duration,
}

/// A proxy that a rotation waits for, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub uid: String,
    pub why: String,
}

impl Trust {
    /// Takes the steps of a rotation when they are due, and follows the files. Runs for ever.
    pub async fn tend(self, audit: Audit) {
        let (mut published, mut proxies, mut bundle) = (self.published.clone(), self.proxies.changes(), self.authority.bundle());
        let (mut told, mut look_at) = (Vec::new(), Instant::now());
        loop {
            self.authority.go_by(aliases(&published.borrow_and_update()));
            proxies.borrow_and_update();
            bundle.borrow_and_update();
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK;
                self.sources.look(&self.authority, self.world.wall());
                self.tell_alarms(&mut told);
                if let Err(fault) = self.authority.tend_token_keys(self.world.wall()) {
                    tracing::error!(%fault, "the keys of tokens were not changed; it is tried again");
                }
            }
            self.advance(&audit);
            tokio::select! {
                biased;
                _ = published.changed() => {}
                _ = proxies.changed() => {}
                _ = bundle.changed() => {}
                () = tokio::time::sleep_until(look_at) => {}
            }
        }
    }

    /// The next step of a rotation, if everybody is ready for it.
    fn advance(&self, audit: &Audit) {
        let Some(rotation) = self.authority.standing().rotation.clone() else { return };
        if self.world.now() < self.back_by || !self.is_published() || !self.waiting(&rotation).is_empty() {
            return;
        }
        let now = self.world.wall();
        let stepped = match rotation.stage {
            Stage::Spreading => self.authority.cut_over(now),
            Stage::Renewing | Stage::Returning | Stage::Retiring => self.authority.retire(now),
        };
        match stepped {
            Ok(()) => {
                tracing::info!(from = rotation.stage.words(), "the rotation of the root took a step");
                let stage = self.authority.standing().rotation.as_ref().map(|rotation| rotation.stage);
                audit.note(
                    now,
                    "control plane",
                    "trust.rotation",
                    json!({"from": rotation.stage, "to": stage, "signer": hexadecimal(&self.authority.standing().signing.fingerprint())}),
                );
            }
            Err(fault) => tracing::error!(%fault, "the rotation of the root cannot go on; it is tried again"),
        }
    }

    fn tell_alarms(&self, told: &mut Vec<Alarm>) {
        let now = self.alarms();
        for alarm in now.iter().filter(|alarm| !told.iter().any(|before| before.of == alarm.of && before.severity == alarm.severity)) {
            tracing::warn!(of = %alarm.of, "{}", alarm.text);
        }
        *told = now;
    }

    /// Whether what proxies are told is what the authority says now.
    fn is_published(&self) -> bool {
        let published = self.published.borrow();
        let told = published.translation.trust.get(self.authority.trust_domain());
        let bundle = self.authority.bundle();
        told.is_some_and(|told| Arc::ptr_eq(told, &bundle.borrow()))
    }

    /// The connected proxies that are not ready for the next step.
    pub fn waiting(&self, rotation: &Rotation) -> Vec<Waiting> {
        let needs_leaf = rotation.stage != Stage::Spreading;
        let is_published = self.is_published();
        let why = |proxy: &Proxy| match self.bundle_at(proxy, is_published) {
            BundleAt::Refused(why) => Some(format!("refused the bundle: {why}")),
            BundleAt::Behind => Some("has not acknowledged the bundle yet".to_owned()),
            BundleAt::Current if needs_leaf && !(self.holds_current(proxy) && self.application_holds_current(proxy)) => {
                Some("holds no certificate of the signer yet".to_owned())
            }
            BundleAt::Current => None,
        };
        self.proxies.all().iter().filter_map(|proxy| why(proxy).map(|why| Waiting { uid: proxy.uid.clone(), why })).collect()
    }

    /// `is_published`: nobody can have what was not sent yet.
    fn bundle_at(&self, proxy: &Proxy, is_published: bool) -> BundleAt {
        let name = self.authority.trust_domain();
        let said = proxy.acknowledged.get(&(ResourceType::TrustBundle, name.to_owned()));
        let published = self.published.borrow();
        match said {
            Some(said) if !said.accepted => BundleAt::Refused(said.why.clone()),
            Some(said) if is_published && published.version_of(ResourceType::TrustBundle, name) == Some(said.version.as_str()) => BundleAt::Current,
            _ => BundleAt::Behind,
        }
    }

    fn holds_current(&self, proxy: &Proxy) -> bool {
        let signs = self.authority.standing().signing.fingerprint();
        proxy.holding.as_ref().is_some_and(|holding| holding.signer == signs)
    }

    /// One that has no certificate of its own waits for none.
    fn application_holds_current(&self, proxy: &Proxy) -> bool {
        let signs = self.authority.standing().signing.fingerprint();
        proxy.holding.as_ref().and_then(|holding| holding.application.as_ref()).is_none_or(|leaf| leaf.signer == signs)
    }

    /// The serial numbers of the certificates that a connected workload shows: its sidecar's, and its application's own.
    pub fn serials_of(&self, uid: &str) -> Vec<String> {
        let Some(holding) = self.proxies.get(uid).and_then(|proxy| proxy.holding.clone()) else { return Vec::new() };
        let application = holding.application.as_ref().map(|leaf| serial_text(&leaf.serial));
        [serial_text(&holding.serial)].into_iter().chain(application).filter(|serial| !serial.is_empty()).collect()
    }

    /// The document behind `taut trust`.
    pub fn status(&self) -> Value {
        let standing = self.authority.standing();
        let root = |root: &rustls_pki_types::CertificateDer<'static>| {
            let (ends, fades) = (self.root_ends(root), standing.foreign.as_ref().and_then(|foreign| foreign.fades(root)));
            let signing = standing.foreign.is_none() && *root == standing.signing.root;
            json!({"fingerprint": hexadecimal(&fingerprint(root)), "serial": serial(root), "notAfter": ends.map(|end| end.to_string()),
                "signing": signing, "until": fades.map(|end| end.to_string())})
        };
        let intermediate = standing.foreign.is_none().then(|| {
            json!({"fingerprint": hexadecimal(&standing.signing.fingerprint()), "serial": serial(&standing.signing.certificate),
                "notAfter": standing.signing.not_after.to_string(), "crossSigned": standing.signing.cross.is_some()})
        });
        let rotation = standing.rotation.as_ref().map(|rotation| {
            let waiting: Vec<Value> = self.waiting(rotation).iter().map(|one| json!({"uid": one.uid, "why": one.why})).collect();
            json!({"stage": rotation.stage, "since": rotation.since.to_string(), "detail": rotation.stage.words(), "waitingFor": waiting,
                "from": hexadecimal(&fingerprint(&rotation.from.root)), "to": hexadecimal(&fingerprint(&rotation.to.root))})
        });
        let is_published = self.is_published();
        let alarms: Vec<Value> = self.alarms().iter().map(Alarm::to_json).collect();
        json!({
            "trustDomain": self.authority.trust_domain(),
            "aliases": self.aliases(),
            "federated": self.federated(),
            "roots": standing.roots().map(root).collect::<Vec<_>>(),
            "rootKey": if standing.foreign.is_some() { "elsewhere" } else if self.authority.has_root_key() { "here" } else { "offline" },
            "intermediate": intermediate,
            "plugged": self.sources.shown(),
            "signedBy": self.signing.shown(),
            "leafLifetimeSeconds": self.authority.leaf_lifetime().as_secs(),
            "rotation": rotation,
            "revoked": {"named": standing.named, "listed": standing.listed_count(), "lists": self.lists()},
            "proxies": self.proxies.all().iter().map(|proxy| self.shown(proxy, is_published)).collect::<Vec<_>>(),
            "problems": alarms,
        })
    }

    /// What else the mesh's trust domain is called.
    fn aliases(&self) -> Vec<String> {
        let published = self.published.borrow();
        let aliases = published.translation.settings.values().flat_map(|settings| &settings.aliases);
        aliases.map(|alias| alias.trust_domain.clone()).filter(|alias| alias != self.authority.trust_domain()).collect()
    }

    /// The revocation lists that are followed, and until when they are good.
    fn lists(&self) -> Vec<Value> {
        self.lists_due().into_iter().map(|(of, due)| json!({"of": of, "nextUpdate": due.to_string()})).collect()
    }

    /// Other trust domains whose members are believed.
    fn federated(&self) -> Vec<Value> {
        let published = self.published.borrow();
        let others = published.translation.trust.iter().filter(|(domain, _)| *domain != self.authority.trust_domain());
        others
            .map(|(domain, bundle)| json!({"trustDomain": domain, "roots": bundle.roots.len(), "signsTokens": !bundle.token_keys.is_empty(), "revoked": bundle.revoked.len()}))
            .collect()
    }

    fn shown(&self, proxy: &Proxy, is_published: bool) -> Value {
        let (bundle, why) = match self.bundle_at(proxy, is_published) {
            BundleAt::Current => ("current", None),
            BundleAt::Behind => ("behind", None),
            BundleAt::Refused(why) => ("refused", Some(why)),
        };
        let signer = match self.holds_current(proxy) {
            _ if self.authority.standing().foreign.is_some() => "elsewhere",
            true => "current",
            false => "other",
        };
        let until = |seconds: i64| jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string());
        let leaf = proxy
            .holding
            .as_ref()
            .map(|holding| json!({"serial": serial_text(&holding.serial), "notAfter": until(holding.not_after), "signer": signer, "roots": holding.roots.len()}));
        json!({"uid": proxy.uid, "serviceAccount": proxy.hello.service_account, "bundle": bundle, "why": why, "leaf": leaf})
    }
}

/// The names whose members our own authority vouches for.
fn aliases(published: &Published) -> BTreeSet<String> {
    let aliases = published.translation.settings.values().flat_map(|settings| &settings.aliases);
    aliases.filter(|alias| !alias.federated).map(|alias| alias.trust_domain.clone()).collect()
}

enum BundleAt {
    Current,
    Behind,
    Refused(String),
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
