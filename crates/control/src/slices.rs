//! EndpointSlices that show who serves each Service, so that `kubectl get endpointslices` and `kubectl describe service` answer as
//! they do on Kubernetes. For people and tools only: the mesh itself reads workloads, never these.

use crate::publish::Published;
use crate::store::{Store, StoreError, Write};
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;
use taut_model::service::Service;
use taut_model::workload::{Health, Workload};
use tokio::sync::watch;

/// The value of `endpointslice.kubernetes.io/managed-by` on ours; slices of others are left alone.
const MANAGER: &str = "tautline.dev";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Changes come in groups; one write serves them all.
const SETTLE: Duration = Duration::from_millis(100);

/// Keeps the slices as the mesh is. Runs until the publisher is gone.
pub async fn keep(store: Store, mut published: watch::Receiver<Arc<Published>>, world: World) {
    let Some(kind) = kinds::by_kind("discovery.k8s.io/v1", "EndpointSlice") else { return };
    loop {
        let now = published.borrow_and_update().clone();
        if let Err(error) = write(&store, kind, &now, &world) {
            tracing::warn!(%error, "EndpointSlices could not be written; they are tried again with the next change");
        }
        if published.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

fn write(store: &Store, kind: &'static Kind, published: &Published, world: &World) -> Result<(), StoreError> {
    let mut wanted = wanted(published);
    let (present, _) = store.list(kind);
    for old in present.iter().filter(|object| object.value["metadata"]["labels"][MANAGED_BY] == MANAGER) {
        match wanted.remove(&(old.namespace.clone(), old.name.clone())) {
            Some(value) if holds(&old.value, &value) => {}
            Some(value) => {
                store.update(kind, &old.namespace, &old.name, &says(world), &mut |current| Ok(merged(&current.value, &value)))?;
            }
            None => {
                store.delete(kind, &old.namespace, &old.name, None)?;
            }
        }
    }
    for ((namespace, name), value) in wanted {
        // Somebody else's slice may have the name: theirs stays.
        match store.create(Object { kind, namespace, name, value, places: None }, &says(world)) {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn says(world: &World) -> Write {
    Write { manager: MANAGER.to_owned(), now: world.wall_text(), uid_seed: world.unique(), places: None, status_only: false, author: None }
}

/// The slices as they should be, by namespace and name: one for each Service that workloads of the mesh serve.
fn wanted(published: &Published) -> BTreeMap<(String, String), Value> {
    let mesh = &published.translation;
    let mut serving: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
    for workload in mesh.workloads.values().filter(|workload| workload.origin.object.kind == "WorkloadEntry") {
        for serves in &workload.serves {
            let all = serving.entry(&serves.host).or_default();
            if all.last().is_none_or(|last| last.uid != workload.uid) {
                all.push(workload);
            }
        }
    }
    let services = mesh.services.values().filter(|service| service.origin.object.kind == "Service");
    services
        .filter_map(|service| {
            let workloads = serving.get(service.host.as_str())?;
            Some(((service.namespace.clone(), format!("{}-tautline", service.name)), slice(service, workloads)))
        })
        .collect()
}

fn slice(service: &Service, workloads: &[&Workload]) -> Value {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            let target = workloads.iter().find_map(|workload| workload.target(&service.host, port.number)).unwrap_or(port.number);
            json!({"name": port.name, "port": target, "protocol": "TCP"})
        })
        .collect();
    let endpoints: Vec<Value> = workloads
        .iter()
        .filter(|workload| workload.address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()))
        .map(|workload| {
            let (ready, leaving) = (workload.health == Health::Ready, workload.health == Health::Draining);
            json!({
                "addresses": [workload.address],
                "conditions": {"ready": ready, "serving": ready || leaving, "terminating": leaving},
                "targetRef": {"kind": "WorkloadEntry", "namespace": workload.namespace, "name": workload.name},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-tautline", service.name), "namespace": service.namespace,
            "labels": {SERVICE_NAME: service.name, MANAGED_BY: MANAGER},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

const OURS: [&str; 3] = ["addressType", "endpoints", "ports"];

fn holds(old: &Value, wanted: &Value) -> bool {
    OURS.iter().all(|field| old[*field] == wanted[*field])
}

fn merged(old: &Value, wanted: &Value) -> Value {
    let mut value = old.clone();
    for field in OURS {
        value[field] = wanted[field].clone();
    }
    value
}
