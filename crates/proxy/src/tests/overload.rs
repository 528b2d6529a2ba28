//! More requests than an application can work on, deadlines, reports of load, and second copies, over sockets.

use super::*;
use taut_model::settings::MeshSettings;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Requests that the application has been given, and the most at a time.
#[derive(Default)]
struct Seen {
    now: Cell<usize>,
    most: Cell<usize>,
    all: Cell<usize>,
}

/// An application that works on two requests at a time, each for 10 ms: 200 per second.
async fn small_app(seen: Rc<Seen>) -> SocketAddr {
    let cores = Rc::new(Semaphore::new(2));
    app(move |_| {
        let (cores, seen) = (cores.clone(), seen.clone());
        async move {
            seen.now.set(seen.now.get() + 1);
            seen.most.set(seen.most.get().max(seen.now.get()));
            seen.all.set(seen.all.get() + 1);
            let _core = cores.acquire().await.unwrap();
            sleep(Duration::from_millis(10)).await;
            seen.now.set(seen.now.get() - 1);
            Response::new(Full::default())
        }
    })
    .await
}

struct Asked {
    urgency: u8,
    at: Instant,
    took: Duration,
    answer: String,
}

/// Asks `rate` times per second of the (stopped) clock, over connections of their own, with the urgencies in turn.
async fn ask(to: SocketAddr, rate: u64, seconds: f64, urgencies: &'static [u8]) -> Vec<Asked> {
    let (start, every) = (Instant::now(), Duration::from_secs(1) / u32::try_from(rate).unwrap());
    let mut asked = Vec::new();
    for number in 0..(seconds * rate as f64) as u32 {
        tokio::time::sleep_until(start + every * number).await;
        let urgency = urgencies[number as usize % urgencies.len()];
        asked.push(tokio::task::spawn_local(async move {
            let at = Instant::now();
            let request = format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\nx-taut-priority: {urgency}\r\nConnection: close\r\n\r\n");
            let answer = talk(to, request).await;
            Asked { urgency, at, took: at.elapsed(), answer }
        }));
    }
    futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect()
}

fn answered<'a>(asked: impl Iterator<Item = &'a Asked>) -> (usize, usize) {
    asked.fold((0, 0), |(good, all), asked| (good + usize::from(asked.answer.starts_with("HTTP/1.1 200")), all + 1))
}

#[test]
fn an_overloaded_application_gets_what_it_can_do_and_the_most_urgent_first() {
    run_in_no_time(async {
        let seen = Rc::new(Seen::default());
        let pair = Pair::new(small_app(seen.clone()).await, AppProtocol::Http).await;
        let calm = ask(pair.client.outbound, 100, 1.0, &[3]).await;
        assert_eq!(answered(calm.iter()), (100, 100));
        assert_eq!(pair.server.sink.registry().proven_limit(), None);
        let start = Instant::now();
        // A fifth urgent, three fifths usual: two and a half times of what it can do.
        let asked = ask(pair.client.outbound, 500, 4.0, &[0, 3, 6, 3, 6]).await;
        let proven = pair.server.sink.registry().proven_limit();
        assert!(proven.is_some_and(|limit| (2..150).contains(&limit)), "{proven:?}");
        let late = || asked.iter().filter(|asked| asked.at > start + Duration::from_secs(2));
        let urgent = answered(late().filter(|asked| asked.urgency == 0));
        let least = answered(late().filter(|asked| asked.urgency == 6));
        assert!(urgent.0 * 100 >= urgent.1 * 95, "urgent: {urgent:?}");
        assert!(least.0 * 100 <= least.1 * 20, "least urgent: {least:?}");
        let all = answered(late());
        // Of the 200 per second that it can do.
        assert!(all.0 >= 330, "{all:?}");
        let slowest = late().map(|asked| asked.took).max().unwrap();
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        assert!(seen.most.get() < 150, "{}", seen.most.get());
        let sent_away = asked.iter().find(|asked| asked.answer.starts_with("HTTP/1.1 503")).unwrap();
        for said in ["x-taut-reason: overloaded", "retry-after: 1", "taut why"] {
            assert!(sent_away.answer.contains(said), "{}", sent_away.answer);
        }
        // It is over as soon as the load is.
        let after = ask(pair.client.outbound, 50, 1.0, &[3]).await;
        assert_eq!(answered(after.iter()), (50, 50));
        let record = pair.server.exchanges().into_iter().find_map(|record| record.failure.filter(|failure| failure.reason == "overloaded")).unwrap();
        assert!(record.retry_safe && record.side == "upstream" && record.detail.contains("that it can"), "{record:?}");
        let metrics = pair.server.sink.registry().render(&[]);
        assert!(!metrics.contains("taut_requests_shed_total 0\n") && !metrics.contains("taut_requests_waited_total 0\n"), "{metrics}");
    });
}

#[test]
fn without_protection_everything_goes_to_the_application() {
    run_in_no_time(async {
        let seen = Rc::new(Seen::default());
        let mut pair = Pair::new(small_app(seen.clone()).await, AppProtocol::Http).await;
        pair.mesh.change = Some(|snapshot| {
            let settings = MeshSettings { protection: false, ..MeshSettings::default() };
            snapshot.settings.insert("mesh".to_owned(), Arc::new(settings));
        });
        pair.server.pin(&pair.mesh);
        let asked = ask(pair.client.outbound, 500, 2.0, &[3]).await;
        assert_eq!(answered(asked.iter()), (1000, 1000));
        assert!(seen.most.get() > 400, "{}", seen.most.get());
    });
}

#[test]
fn slow_answers_that_are_not_for_load_are_left_alone() {
    run_in_no_time(async {
        // A dependency becomes twenty times slower, for any number of requests.
        let slow = Rc::new(Cell::new(false));
        let how = slow.clone();
        let app = app(move |_| {
            let takes = Duration::from_millis(if how.get() { 200 } else { 10 });
            async move {
                sleep(takes).await;
                Response::new(Full::default())
            }
        });
        let pair = Pair::new(app.await, AppProtocol::Http).await;
        assert_eq!(answered(ask(pair.client.outbound, 200, 1.5, &[3]).await.iter()), (300, 300));
        slow.set(true);
        let asked = ask(pair.client.outbound, 200, 4.0, &[3]).await;
        assert_eq!(answered(asked.iter()), (800, 800));
        let slowest = asked.iter().map(|asked| asked.took).max().unwrap();
        assert!(slowest < Duration::from_millis(1300), "{slowest:?}");
    });
}

#[test]
fn deadlines_are_passed_on_with_what_is_left_and_kept() {
    run_in_no_time(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let request = |header: &str| format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\n{header}\r\nConnection: close\r\n\r\n");
        let answer = talk(pair.client.outbound, request("x-envoy-expected-rq-timeout-ms: 5000")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let left = answer.lines().find_map(|line| line.strip_prefix("x-envoy-expected-rq-timeout-ms: ")).unwrap();
        assert!((4000..=5000).contains(&left.parse::<u32>().unwrap()), "{left}");
        // Who says nothing is told nothing.
        assert!(!talk(pair.client.outbound, request("a: b")).await.contains("timeout"));

        let nobody = Pair::new(app(|_| std::future::pending::<Response<Full<Bytes>>>()).await, AppProtocol::Http).await;
        let answer = talk(nobody.client.outbound, request("x-envoy-expected-rq-timeout-ms: 50")).await;
        assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("the caller allowed"), "{answer}");
    });
}

#[test]
fn what_is_too_late_is_not_sent() {
    run_in_no_time(async {
        let seen = Rc::new(Seen::default());
        let pair = Pair::new(small_app(seen.clone()).await, AppProtocol::Grpc).await;
        let mut client = http2::<Full<Bytes>>(pair.client.outbound).await;
        let request = Request::post("http://reviews:9080/a.B/C").header("content-type", "application/grpc").header("grpc-timeout", "0n");
        let response = client.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let said = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!((said("grpc-status"), said("x-taut-reason")), ("4", "deadline_over"));
        assert_eq!(seen.all.get(), 0);
        let failure = pair.client.exchange().await.failure.unwrap();
        assert!(failure.retry_safe, "{failure:?}");
    });
}

#[test]
fn load_is_told_to_peers_and_to_nobody_else() {
    run_in_no_time(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        for to in [pair.client.outbound, pair.server.exposed] {
            let answer = talk(to, "GET / HTTP/1.1\r\nHost: reviews:9080\r\nx-taut-again: 1\r\nx-taut-load: 0;0\r\nConnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("x-taut-again") && !head_of(&answer).contains("x-taut"), "{answer}");
        }
    });
}

fn head_of(answer: &str) -> &str {
    answer.split("\r\n\r\n").next().unwrap_or_default()
}

#[test]
fn a_slow_answer_is_asked_for_twice_where_the_mesh_allows_it() {
    run_in_no_time(async {
        let stuck = Rc::new(Cell::new(false));
        let how = stuck.clone();
        // The first that is asked while it is stuck never answers; the other instance does.
        let app = app(move |_| {
            let stuck = how.replace(false);
            async move {
                match stuck {
                    true => std::future::pending().await,
                    false => Response::new(Full::<Bytes>::default()),
                }
            }
        })
        .await;
        let authority = Authority::new("mesh.local");
        let mut servers = Vec::new();
        for name in ["reviews-1", "reviews-2"] {
            servers.push(Proxy::start(name, app, Some(authority.issue("reviews"))).await);
        }
        let client = Proxy::start("web", LOCAL, Some(authority.issue("web"))).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http);
        for server in &servers {
            mesh = mesh.workload("reviews", &server.name, Some(server.peer), app);
        }
        mesh.change = Some(|snapshot| {
            let settings = MeshSettings { hedging: Some(5.0), ..MeshSettings::default() };
            snapshot.settings.insert("mesh".to_owned(), Arc::new(settings));
        });
        servers.iter().chain([&client]).for_each(|proxy| proxy.pin(&mesh));
        for _ in 0..60 {
            assert!(get(client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        }
        stuck.set(true);
        let answer = get(client.outbound, "/twice").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let record = eventually(|| client.exchanges().into_iter().find(|record| &*record.path == "/twice")).await;
        let tried: Vec<String> = record.attempts.iter().map(|attempt| attempt.result.to_string()).collect();
        assert_eq!(tried, ["hedged", "200"]);
        assert!(client.sink.registry().render(&[]).contains("taut_hedges_total 1\n"));
        // A POST is not.
        stuck.set(true);
        let post = talk(client.outbound, "POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert!(tokio::time::timeout(Duration::from_secs(3), post).await.is_err());
    });
}
