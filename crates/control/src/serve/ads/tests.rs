//! The order of delivery: no plan in between may lack what it builds on.

use super::*;
use crate::fixture::published;
use taut_wire::session::ClientSession;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1, namespace: default}
spec: {address: 127.0.0.1, labels: {app: reviews}, ports: {http: 40000}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
";

const REVIEWS: &str = "reviews.default.svc.cluster.local";

fn types(responses: &[DeltaDiscoveryResponse]) -> Vec<ResourceType> {
    responses.iter().filter_map(|response| ResourceType::from_type_url(&response.type_url)).collect()
}

/// A stream on which the client has opened everything and answered for it, subscribed to `hosts`.
fn opened(published: &Published, hosts: &[&str]) -> (Delivery, ClientSession) {
    let (mut delivery, mut client) = (Delivery::new("default".into()), ClientSession::new("default/page"));
    client.subscribe(hosts.iter().map(|host| (*host).to_owned()));
    for request in client.connect() {
        delivery.request(request, 1).unwrap();
    }
    settle(&mut delivery, &mut client, published);
    (delivery, client)
}

fn settle(delivery: &mut Delivery, client: &mut ClientSession, published: &Published) {
    loop {
        let responses = delivery.offers(published);
        if responses.is_empty() {
            return;
        }
        for response in responses {
            delivery.request(client.response(response).ack, 1).unwrap();
        }
    }
}

#[test]
fn a_service_comes_last_and_only_when_all_it_builds_on_is_on_its_way() {
    let published = published(MESH);
    let (mut delivery, mut client) = opened(&published, &[]);
    delivery.request(client.subscribe([REVIEWS.to_owned()]).unwrap(), 1).unwrap();
    let responses = delivery.offers(&published);
    assert_eq!(types(&responses), [ResourceType::Workload, ResourceType::Route, ResourceType::Service]);
}

#[test]
fn a_service_waits_while_its_workloads_cannot_be_sent() {
    let published = published(MESH);
    let (mut delivery, mut client) = opened(&published, &[]);
    // A workload response is on its way and not answered when the client asks for one more service.
    let more = super::tests::published(&format!("{MESH}---\n{}", MESH.replace("reviews", "ratings")));
    delivery.request(client.subscribe([REVIEWS.to_owned()]).unwrap(), 1).unwrap();
    let first = delivery.offers(&published);
    delivery.request(client.subscribe(["ratings.default.svc.cluster.local".to_owned()]).unwrap(), 1).unwrap();
    assert_eq!(types(&delivery.offers(&more)), [], "workloads are in flight, so neither routes nor services may go");
    for response in first {
        delivery.request(client.response(response).ack, 1).unwrap();
    }
    assert_eq!(types(&delivery.offers(&more)), [ResourceType::Workload, ResourceType::Route, ResourceType::Service]);
}

#[test]
fn a_stream_that_opens_type_by_type_hears_of_services_at_the_end() {
    let published = published(MESH);
    let (mut delivery, mut client) = (Delivery::new("default".into()), ClientSession::new("default/page"));
    client.subscribe([REVIEWS.to_owned()]);
    let mut seen = Vec::new();
    for request in client.connect() {
        delivery.request(request, 1).unwrap();
        seen.extend(types(&delivery.offers(&published)));
    }
    assert_eq!(seen.last(), Some(&ResourceType::Service), "{seen:?}");
    assert_eq!(seen.len(), ORDER.len());
}

#[test]
fn a_host_that_does_not_exist_is_told_absent_once() {
    let published = published(MESH);
    let (mut delivery, mut client) = opened(&published, &[]);
    delivery.request(client.subscribe(["nowhere".to_owned()]).unwrap(), 1).unwrap();
    let responses = delivery.offers(&published);
    assert_eq!(responses.iter().map(|response| response.removed_resources.clone()).collect::<Vec<_>>(), [["nowhere"]]);
    settle(&mut delivery, &mut client, &published);
    assert!(delivery.offers(&published).is_empty());
}

#[test]
fn a_node_of_another_namespace_is_refused() {
    let mut delivery = Delivery::new("default".into());
    let mut client = ClientSession::new("vault/page");
    let refused = delivery.request(client.connect().remove(0), 1).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}
