//! Where to scrape: the metrics of every connected proxy, in the format of Prometheus' HTTP service discovery.

use crate::proxies::{Proxies, Proxy};
use serde::Serialize;
use std::collections::BTreeMap;

/// Labels of a workload that a target carries too, and how they are named there.
const CARRIED: [(&str, &str); 2] = [("version", "version"), ("app", "app")];

/// One target group (Prometheus, "HTTP SD").
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// One group for each proxy that says where its metrics are.
pub fn targets(proxies: &Proxies) -> Vec<Group> {
    proxies.all().iter().filter(|proxy| !proxy.hello.admin.is_empty()).map(group).collect()
}

fn group(proxy: &Proxy) -> Group {
    let hello = &proxy.hello;
    let carried = CARRIED.into_iter().filter_map(|(label, name)| hello.labels.get(label).map(|value| (name, value.clone())));
    let own = [("namespace", &hello.namespace), ("workload", &hello.name), ("service", &hello.service)];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone()));
    Group { targets: vec![hello.admin.clone()], labels: own.chain(carried).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use taut_wire::desk::Hello;

    #[test]
    fn each_proxy_with_metrics_is_a_target() {
        let proxies = Proxies::default();
        let hello = |name: &str, admin: &str| Hello {
            namespace: "shop".into(),
            name: name.into(),
            service: "cart".into(),
            admin: admin.into(),
            labels: [("version".to_owned(), "v1".to_owned()), ("tier".to_owned(), "back".to_owned())].into(),
            ..Hello::default()
        };
        for (uid, admin) in [("shop/cart-1", "127.0.0.1:15000"), ("shop/cart-2", "")] {
            let (questions, _) = tokio::sync::mpsc::channel(1);
            proxies.arrive(uid, hello(uid.trim_start_matches("shop/"), admin), String::new(), questions);
        }
        let labels = json!({"namespace": "shop", "workload": "cart-1", "service": "cart", "version": "v1"});
        assert_eq!(serde_json::to_value(targets(&proxies)).unwrap(), json!([{"targets": ["127.0.0.1:15000"], "labels": labels}]));
    }
}
