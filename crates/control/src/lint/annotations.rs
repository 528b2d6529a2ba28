//! Annotations that somebody of the mesh would read: their names, the kinds that they are for, and the form of their values.

use super::findings::Findings;
use super::name as code;
use crate::translate::nearest;
use taut_model::object::Object;
use taut_model::path;
use taut_model::problem::Severity;

/// What a value must be.
#[derive(Clone, Copy)]
enum Form {
    Any,
    Boolean,
    /// `host:port` with an IP address.
    Address,
    Number,
    /// Names of ports or numbers, separated by commas.
    Ports,
    OneOf(&'static [&'static str]),
}

struct Known {
    name: &'static str,
    /// Kinds that it counts on; empty: any.
    kinds: &'static [&'static str],
    form: Form,
}

const fn known(name: &'static str, kinds: &'static [&'static str], form: Form) -> Known {
    Known { name, kinds, form }
}

/// Workloads by their templates: annotations of pods.
const PODS: &[&str] = &["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
const ENTRIES: &[&str] = &["WorkloadEntry"];

/// Tautline's own, and Istio's (`annotation.yaml` of istio/api) that users put on objects.
static KNOWN: &[Known] = &[
    known("tautline.dev/peer", ENTRIES, Form::Address),
    known("tautline.dev/auto-registered", ENTRIES, Form::Boolean),
    known("tautline.dev/identity", ENTRIES, Form::Any),
    known("tautline.dev/balancer", &["DestinationRule"], Form::Any),
    known("tautline.dev/hedging", &["VirtualService", "HTTPRoute", "GRPCRoute"], Form::Any),
    known("tautline.dev/service-accounts", &[], Form::Any),
    known("tautline.dev/stands-in", &[], Form::Any),
    known("tautline.dev/source", &[], Form::Any),
    known("tautline.dev/seen-window", &["AuthorizationPolicy"], Form::Any),
    known("tautline.dev/seen-confidence", &["AuthorizationPolicy"], Form::Any),
    known("tautline.dev/suppress", &[], Form::Any),
    known("galley.istio.io/analyze-suppress", &[], Form::Any),
    known("inject.istio.io/templates", PODS, Form::Any),
    known("ambient.istio.io/redirection", PODS, Form::OneOf(&["enabled", "disabled"])),
    known("ambient.istio.io/bypass-inbound-capture", PODS, Form::Boolean),
    known("networking.istio.io/exportTo", &["Service"], Form::Any),
    known("networking.istio.io/traffic-distribution", &["Service", "ServiceEntry"], Form::Any),
    known("networking.istio.io/address-type", &["Gateway"], Form::Any),
    known("networking.istio.io/service-type", &["Gateway"], Form::Any),
    known("prometheus.istio.io/merge-metrics", PODS, Form::Boolean),
    known("proxy.istio.io/config", PODS, Form::Any),
    known("proxy.istio.io/overrides", PODS, Form::Any),
    known("readiness.status.sidecar.istio.io/applicationPorts", PODS, Form::Any),
    known("readiness.status.sidecar.istio.io/failureThreshold", PODS, Form::Number),
    known("readiness.status.sidecar.istio.io/initialDelaySeconds", PODS, Form::Number),
    known("readiness.status.sidecar.istio.io/periodSeconds", PODS, Form::Number),
    known("sidecar.istio.io/inject", PODS, Form::Boolean),
    known("sidecar.istio.io/status", PODS, Form::Any),
    known("sidecar.istio.io/rewriteAppHTTPProbers", PODS, Form::Boolean),
    known("sidecar.istio.io/discoveryAddress", PODS, Form::Any),
    known("sidecar.istio.io/logLevel", PODS, Form::Any),
    known("sidecar.istio.io/componentLogLevel", PODS, Form::Any),
    known("sidecar.istio.io/agentLogLevel", PODS, Form::Any),
    known("sidecar.istio.io/proxyImage", PODS, Form::Any),
    known("sidecar.istio.io/proxyImageType", PODS, Form::Any),
    known("sidecar.istio.io/proxyCPU", PODS, Form::Any),
    known("sidecar.istio.io/proxyCPULimit", PODS, Form::Any),
    known("sidecar.istio.io/proxyMemory", PODS, Form::Any),
    known("sidecar.istio.io/proxyMemoryLimit", PODS, Form::Any),
    known("sidecar.istio.io/bootstrapOverride", PODS, Form::Any),
    known("sidecar.istio.io/interceptionMode", PODS, Form::OneOf(&["REDIRECT", "TPROXY", "NONE"])),
    known("sidecar.istio.io/userVolume", PODS, Form::Any),
    known("sidecar.istio.io/userVolumeMount", PODS, Form::Any),
    known("sidecar.istio.io/extraStatTags", PODS, Form::Any),
    known("sidecar.istio.io/statsInclusionPrefixes", PODS, Form::Any),
    known("sidecar.istio.io/statsInclusionRegexps", PODS, Form::Any),
    known("sidecar.istio.io/statsInclusionSuffixes", PODS, Form::Any),
    known("sidecar.istio.io/statsHistogramBuckets", PODS, Form::Any),
    known("sidecar.istio.io/statsCompression", PODS, Form::Boolean),
    known("sidecar.istio.io/nativeSidecar", PODS, Form::Boolean),
    known("sidecar.istio.io/enableCoreDump", PODS, Form::Boolean),
    known("status.sidecar.istio.io/port", PODS, Form::Number),
    known("traffic.sidecar.istio.io/includeInboundPorts", PODS, Form::Ports),
    known("traffic.sidecar.istio.io/excludeInboundPorts", PODS, Form::Ports),
    known("traffic.sidecar.istio.io/includeOutboundPorts", PODS, Form::Ports),
    known("traffic.sidecar.istio.io/excludeOutboundPorts", PODS, Form::Ports),
    known("traffic.sidecar.istio.io/includeOutboundIPRanges", PODS, Form::Any),
    known("traffic.sidecar.istio.io/excludeOutboundIPRanges", PODS, Form::Any),
    known("traffic.sidecar.istio.io/excludeInterfaces", PODS, Form::Any),
    known("traffic.sidecar.istio.io/kubevirtInterfaces", PODS, Form::Any),
    known("istio.io/reroute-virtual-interfaces", PODS, Form::Any),
    known("istio.io/rev", &[], Form::Any),
    known("istio.io/dry-run", &["AuthorizationPolicy"], Form::Boolean),
    known("istio.io/for-service-account", &[], Form::Any),
    known("istio.io/autoRegistrationGroup", ENTRIES, Form::Any),
    known("istio.io/connectedAt", ENTRIES, Form::Any),
    known("istio.io/disconnectedAt", ENTRIES, Form::Any),
    known("istio.io/workloadController", ENTRIES, Form::Any),
    known("internal.istio.io/parents", &[], Form::Any),
    known("topology.istio.io/controlPlaneClusters", &["Namespace"], Form::Any),
];

pub fn check(object: &Object, findings: &mut Findings) {
    each(object, "metadata", &object.value["metadata"]["annotations"], object.kind.kind, findings);
    let template = &object.value["spec"]["template"]["metadata"]["annotations"];
    each(object, "spec.template.metadata", template, "Pod", findings);
}

fn each(object: &Object, at: &str, annotations: &serde_json::Value, kind: &str, findings: &mut Findings) {
    for (name, value) in annotations.as_object().into_iter().flatten() {
        let domain = name.split_once('/').map_or("", |(domain, _)| domain);
        let ours = domain == "tautline.dev" || domain.ends_with(".tautline.dev");
        if !ours && domain != "istio.io" && !domain.ends_with(".istio.io") {
            continue;
        }
        let path = path::field(&format!("{at}.annotations"), name);
        let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
            let near = nearest(name, KNOWN.iter().map(|known| known.name)).map(|near| format!("did you mean {near:?}?"));
            let severity = if ours || near.is_some() { Severity::Warning } else { Severity::Info };
            findings.add(severity, code::UNKNOWN_ANNOTATION, object, &path, "nobody reads an annotation of this name", near);
            continue;
        };
        if !known.kinds.is_empty() && !known.kinds.contains(&kind) {
            let whose = known.kinds.join(", ");
            findings.warn(code::MISPLACED_ANNOTATION, object, &path, format!("counts on {whose}, and not on {kind}"));
        } else if let Some(wanted) = value.as_str().and_then(|value| wrong(known.form, value)) {
            findings.warn(code::INVALID_ANNOTATION, object, &path, format!("{value} is not {wanted}"));
        }
    }
}

/// What was wanted, if `value` is not that.
fn wrong(form: Form, value: &str) -> Option<String> {
    let fits = match form {
        Form::Any => true,
        Form::Boolean => matches!(value, "true" | "false" | "True" | "False" | "1" | "0"),
        Form::Address => value.parse::<std::net::SocketAddr>().is_ok(),
        Form::Number => value.parse::<u32>().is_ok(),
        Form::Ports => value.is_empty() || value == "*" || value.split(',').all(|port| port.trim().parse::<u16>().is_ok()),
        Form::OneOf(known) => known.contains(&value),
    };
    (!fits).then(|| match form {
        Form::Any => String::new(),
        Form::Boolean => "true or false".to_owned(),
        Form::Address => "an address and a port such as 10.0.0.7:15008".to_owned(),
        Form::Number => "a number".to_owned(),
        Form::Ports => "a list of port numbers, separated by commas".to_owned(),
        Form::OneOf(known) => format!("one of {}", known.join(", ")),
    })
}
