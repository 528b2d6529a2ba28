//! Which context goes on, in which form, and with whose span.

use super::*;
use std::sync::Arc;
use std::time::Duration;
use taut_model::telemetry::{Collector, OtlpProtocol};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn tracing(sampling: f64, report: bool) -> Tracing {
    let protocol = OtlpProtocol::Grpc { headers: vec![] };
    let (timeout, metrics_every) = (Duration::from_secs(1), Duration::from_secs(1));
    let collector = Arc::new(Collector { host: "collector".into(), port: 4317, protocol, timeout, metrics_every });
    let tags =
        vec![("user".to_owned(), Tag::Header { name: "end-user".into(), default: String::new() }), ("team".to_owned(), Tag::Literal("books".into()))];
    Tracing { collector, sampling, report, tags, failures: true, slower_than: None }
}

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn run(pairs: &[(&str, &str)], tracing: Option<&Tracing>) -> (HeaderMap, Trail) {
    let mut headers = map(pairs);
    let (_, trail) = begin(&mut headers, &mut fastrand::Rng::with_seed(1), tracing);
    headers.remove(&REQUEST_ID);
    (headers, trail)
}

#[test]
fn a_valid_parent_is_passed_on_and_anything_else_is_replaced() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (given, kept) in [
        (good, true),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later", true),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false),
        ("", false),
    ] {
        let (headers, trail) = run(&[("traceparent", given), ("tracestate", "a=1")], None);
        let seen = &headers[&TRACEPARENT];
        assert_eq!((seen == given, headers.contains_key(&TRACESTATE)), (kept, kept), "{given}");
        assert_eq!(parent(seen).map(|(trace, ..)| trace), Some(trail.trace), "{given}");
        assert!(!trail.sampled);
    }
}

#[test]
fn a_sampled_trace_goes_on_with_the_own_span_in_every_form_that_came() {
    let tracing = tracing(0.0, true);
    let short = &TRACE[16..];
    let (single, single_short, debug) = (format!("{TRACE}-{SPAN}-1"), format!("{short}-{SPAN}-1-05e3ac9a4f6e3b90"), format!("{TRACE}-{SPAN}-d"));
    let w3c = format!("00-{TRACE}-{SPAN}-03");
    let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
    for given in [
        vec![("traceparent", w3c.as_str())],
        vec![("b3", single.as_str())],
        vec![("b3", single_short.as_str())],
        vec![("b3", debug.as_str())],
        several.to_vec(),
        vec![("traceparent", w3c.as_str()), ("b3", single.as_str()), several[0], several[1], several[2]],
    ] {
        let (headers, trail) = run(&given, Some(&tracing));
        assert!(trail.sampled && trail.span != 0 && format!("{:016x}", trail.parent) == SPAN, "{given:?}: {trail:?}");
        let span = format!("{:016x}", trail.span);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).filter(|name| *name != "x-b3-parentspanid").collect();
        let mut wanted: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        for (name, before) in &given {
            let after = headers[*name].to_str().unwrap();
            match *name {
                "traceparent" => assert_eq!(after, format!("00-{TRACE}-{span}-03")),
                "b3" => {
                    let (trace, state) = (before.split('-').next().unwrap(), before.split('-').nth(2).unwrap());
                    assert_eq!(after, format!("{trace}-{span}-{state}-{SPAN}"));
                }
                "x-b3-spanid" => assert_eq!((after, headers["x-b3-parentspanid"].to_str().unwrap()), (span.as_str(), SPAN)),
                _ => assert_eq!(after, *before),
            }
        }
    }
}

#[test]
fn what_others_decided_not_to_sample_goes_on_as_it_came() {
    let tracing = tracing(100.0, true);
    let (w3c, single, bare) = (format!("00-{TRACE}-{SPAN}-00"), format!("{TRACE}-{SPAN}-0"), "0".to_owned());
    for given in [
        vec![("traceparent", w3c.as_str()), ("tracestate", "a=1")],
        vec![("b3", single.as_str())],
        vec![("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "0")],
    ] {
        let (headers, trail) = run(&given, Some(&tracing));
        assert_eq!((headers, trail.sampled, trail.span), (map(&given), false, 0));
    }
    let (headers, trail) = run(&[("b3", &bare)], Some(&tracing));
    assert!(!trail.sampled && headers[&TRACEPARENT].to_str().unwrap().ends_with("-00"));
}

#[test]
fn whoever_leaves_the_decision_open_is_told_what_it_is() {
    let open = format!("{TRACE}-{SPAN}");
    let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let (headers, trail) = run(&[("b3", &open)], Some(&tracing(0.0, true)));
    assert_eq!((headers["b3"].to_str().unwrap(), trail.sampled), (format!("{open}-0").as_str(), false));
    assert_eq!(run(&several, Some(&tracing(0.0, true))).0["x-b3-sampled"], "0");
    let (headers, trail) = run(&several, Some(&tracing(100.0, true)));
    assert!(trail.sampled && headers["x-b3-sampled"] == "1");
    // Nobody traces: nothing is decided.
    assert_eq!(run(&[("b3", &open)], None).0["b3"], open.as_str());
}

#[test]
fn a_trace_that_begins_here_is_sampled_as_often_as_telemetry_says() {
    let with = |sampling, report| run(&[], Some(&tracing(sampling, report)));
    for (sampling, report, flag, sampled) in [(100.0, true, "01", true), (0.0, true, "00", false), (100.0, false, "01", false)] {
        let (headers, trail) = with(sampling, report);
        let text = headers[&TRACEPARENT].to_str().unwrap();
        assert!(text.ends_with(flag) && trail.sampled == sampled && trail.parent == 0, "{text} {trail:?}");
        assert!(text.contains(&format!("{:016x}", trail.span)));
    }
    // Without tracing, applications decide as they would without a caller.
    assert!(run(&[], None).0[&TRACEPARENT].to_str().unwrap().ends_with("-01"));
}

#[test]
fn a_route_decides_only_about_traces_that_begin_with_it() {
    let tracing = tracing(0.0, true);
    let (mut headers, mut trail) = run(&[("end-user", "jason")], Some(&tracing));
    assert!(trail.extras.is_none());
    resample(&mut headers, &mut trail, Some(&tracing), 100.0);
    assert!(trail.sampled && headers[&TRACEPARENT].to_str().unwrap().ends_with("-01"));
    assert_eq!(trail.extras.as_ref().unwrap().tags, [("user".to_owned(), "jason".to_owned())]);
    resample(&mut headers, &mut trail, Some(&tracing), 0.0);
    assert!(!trail.sampled && headers[&TRACEPARENT].to_str().unwrap().ends_with("-00"));
    let given = format!("00-{TRACE}-{SPAN}-00");
    let (mut headers, mut trail) = run(&[("traceparent", &given)], Some(&tracing));
    resample(&mut headers, &mut trail, Some(&tracing), 100.0);
    assert!(!trail.sampled && headers[&TRACEPARENT] == given.as_str());
}

#[test]
fn b3_that_is_not_valid_is_no_context() {
    for bad in ["x", "", "1-2", "0000000000000000-b7ad6b7169203331-1", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-2"] {
        let (headers, trail) = run(&[("b3", bad)], None);
        assert!(headers.contains_key(&TRACEPARENT) && trail.parent == 0, "{bad}");
    }
    let extra = format!("{TRACE}-{SPAN}-1-{SPAN}-more");
    assert!(run(&[("b3", &extra)], None).0.contains_key(&TRACEPARENT));
}

#[test]
fn an_id_is_taken_from_the_client_only_if_it_fits_in_a_log() {
    let mut dice = fastrand::Rng::with_seed(1);
    let mut headers = map(&[("x-request-id", "abc-1")]);
    assert_eq!(begin(&mut headers, &mut dice, None).0.to_string(), "abc-1");
    let mut headers = map(&[("x-request-id", "two words")]);
    let id = begin(&mut headers, &mut dice, None).0.to_string();
    assert_eq!(headers[&REQUEST_ID], id.as_str());
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
    assert!("89ab".contains(&id[19..20]));
}
