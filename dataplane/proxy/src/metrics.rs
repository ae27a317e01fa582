//! What operators watch: OpenMetrics text over HTTP, on an address of its own.
//!
//! Everything is looked up when it is asked for, once a second at most: a scrape takes the pacer's lock for a walk over the
//! targets that it remembers. Per target there is a series for the [`TARGETS`] that matter most, so the number of series is bounded whatever
//! the size of the fleet; the totals hold all targets.

use std::{
    cell::RefCell,
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
        text,
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};
use tokio::sync::{Semaphore, oneshot};
use tracing::{debug, error};
use weir_pace::{Snapshot, Totals, Waits};

use crate::archive::Look;
use crate::shared::Shared;

/// Targets that have series of their own, those with trouble first.
const TARGETS: usize = 200;

/// Connections that are served at the same time: a scraper needs one.
const CONNECTIONS: usize = 16;

/// How long one may last.
const PATIENCE: Duration = Duration::from_secs(30);

/// The thread that answers. Dropped, it ends.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and answers from now on.
    pub(crate) fn start(address: SocketAddr, metrics: Box<dyn Collector>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let mut registry = Registry::with_prefix("weir");
        registry.register_collector(metrics);
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                tokio::task::LocalSet::new().block_on(&runtime, async {
                    tokio::select! {
                        ended = serve(listener, registry) => {
                            if let Err(e) = ended {
                                error!(%address, error = %e, "metrics are not served any more");
                            }
                        }
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address, with the port that was taken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and concerns nobody here.
            drop(thread.join());
        }
    }
}

async fn serve(listener: std::net::TcpListener, registry: Registry) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let page = Rc::new(Page {
        registry,
        printed: RefCell::new(None),
    });
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // No descriptors left, for instance: others close theirs.
                debug!(error = %e, "connection to the metrics address not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let page = Rc::clone(&page);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &page);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(PATIENCE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => debug!(%peer, error = %e, "metrics not read to the end"),
                Err(_) => debug!(%peer, "metrics not read in time"),
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(
            StatusCode::NOT_FOUND,
            "got another path while expecting /metrics\n",
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(body) = page.body() else {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics could not be written\n",
        );
    };
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    response
}

/// What is printed, and when it was.
struct Page {
    registry: Registry,
    printed: RefCell<Option<(Instant, Bytes)>>,
}

impl Page {
    fn body(&self) -> Option<Bytes> {
        let mut printed = self.printed.borrow_mut();
        if let Some((at, body)) = &*printed
            && at.elapsed() < FRESH
        {
            return Some(body.clone());
        }
        let mut body = String::new();
        text::encode(&mut body, &self.registry).ok()?;
        let body = Bytes::from(body);
        *printed = Some((Instant::now(), body.clone()));
        Some(body)
    }
}

/// For so long a page is shown again: who asks without a pause does not keep the pacer's lock.
const FRESH: Duration = Duration::from_secs(1);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a data plane counts and what its pacer knows.
pub(crate) struct Metrics(pub(crate) Arc<Shared>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.0.counters;
        for (name, help, counter) in [
            ("connections", "Client connections accepted", &counters.accepted),
            (
                "sign_in_failures",
                "Connections whose user did not sign in",
                &counters.unauthenticated,
            ),
            (
                "sessions_rejected",
                "Sessions refused after sign-in",
                &counters.rejected,
            ),
            ("sessions", "Sessions relayed to a target", &counters.relayed),
        ] {
            let count = counter.load(std::sync::atomic::Ordering::Relaxed);
            counter_of(&mut encoder, name, help, count)?;
        }
        let (totals, targets) = self
            .0
            .pacing
            .look(|pacer, now| (pacer.totals(), pacer.busiest(now, TARGETS)));
        encode_totals(&mut encoder, &totals)?;
        encode_backlog(&mut encoder, &self.0.recorder.backlog().look())?;
        let view = self.0.view.load();
        let targets: Vec<_> = targets
            .into_iter()
            .map(|snapshot| {
                let node = view
                    .policy
                    .target(&snapshot.target)
                    .map(|node| node.name.to_string());
                let labels = Labels([
                    ("target", snapshot.target.to_string()),
                    ("node", node.unwrap_or_default()),
                ]);
                (labels, snapshot)
            })
            .collect();
        encode_targets(&mut encoder, &targets)
    }
}

fn encode_backlog(encoder: &mut DescriptorEncoder<'_>, look: &Look) -> fmt::Result {
    for (name, help, unit, value) in [
        (
            "recordings_waiting",
            "Recordings that have ended and are not yet safe in the store",
            None,
            look.recordings as f64,
        ),
        (
            "recordings_waiting",
            "What was recorded in them, before it was compressed and sealed",
            Some(Unit::Bytes),
            look.bytes as f64,
        ),
        (
            "recordings_waiting_oldest",
            "For how long the oldest of them has waited",
            Some(Unit::Seconds),
            Duration::from_micros(look.oldest_us).as_secs_f64(),
        ),
        (
            "spool",
            "What recordings take on this machine's disk",
            Some(Unit::Bytes),
            look.spool_bytes as f64,
        ),
        (
            "spool_free",
            "What is free on that file system",
            Some(Unit::Bytes),
            look.free_bytes as f64,
        ),
        (
            "store_trouble",
            "1: the store took nothing when it was last asked",
            None,
            f64::from(u8::from(look.problem.is_some())),
        ),
    ] {
        encoder
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
            .encode_gauge(&value)?;
    }
    Ok(())
}

fn encode_totals(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> fmt::Result {
    for (name, help, count) in [
        (
            "pacing_admitted",
            "Handshakes with targets begun",
            totals.admitted,
        ),
        (
            "pacing_drops",
            "Handshakes dropped by targets (MaxStartups, PerSourcePenalties)",
            totals.drops,
        ),
        (
            "pacing_retries",
            "Handshakes that were not their session's first",
            totals.retries,
        ),
        (
            "pacing_given_up",
            "Sessions whose wait for a target ended in vain",
            totals.given_up,
        ),
    ] {
        counter_of(encoder, name, help, count)?;
    }
    for (name, help, count) in [
        ("pacing_in_flight", "Handshakes under way", totals.in_flight),
        (
            "pacing_waiting",
            "Sessions that wait for a target",
            totals.waiting,
        ),
        ("pacing_targets", "Targets in use or remembered", totals.targets),
        (
            "pacing_bans_suspected",
            "Targets that seem to refuse this proxy",
            totals.bans_suspected,
        ),
    ] {
        let count = u64::try_from(count).expect("a count of what is in memory");
        encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&count)?;
    }
    let help = "Time from a session's wish for a target to its first handshake";
    let mut metric =
        encoder.encode_descriptor("pacing_wait", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    encode_waits(&mut metric, &totals.waits)
}

/// One family after the other, as the format has it.
fn encode_targets(encoder: &mut DescriptorEncoder<'_>, targets: &[(Labels, Snapshot)]) -> fmt::Result {
    let mut gauge = |name, help, unit: Option<&Unit>, value: fn(&Snapshot) -> f64| {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        targets
            .iter()
            .try_for_each(|(labels, target)| gauge_of(&mut metric, labels, value(target)))
    };
    gauge(
        "pacing_target_window",
        "Handshakes that may be under way",
        None,
        |t| t.window,
    )?;
    gauge("pacing_target_in_flight", "Handshakes under way", None, |t| {
        t.in_flight as f64
    })?;
    gauge("pacing_target_waiting", "Sessions that wait", None, |t| {
        t.waiting as f64
    })?;
    gauge(
        "pacing_target_penalty",
        "What the target is thought to hold against this proxy (PerSourcePenalties)",
        Some(&Unit::Seconds),
        |t| t.penalty.as_secs_f64(),
    )?;
    gauge(
        "pacing_target_ban_suspected",
        "1: it seems to refuse this proxy",
        None,
        |t| f64::from(u8::from(t.ban_suspected)),
    )?;
    gauge(
        "pacing_target_handshake",
        "How long a handshake takes, a moving average",
        Some(&Unit::Seconds),
        |t| t.handshake.as_secs_f64(),
    )?;
    let mut counter = |name, help, value: fn(&Snapshot) -> u64| {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        targets.iter().try_for_each(|(labels, target)| {
            metric
                .encode_family(labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value(target), None)
        })
    };
    counter("pacing_target_admitted", "Handshakes begun", |t| t.admitted)?;
    counter("pacing_target_drops", "Handshakes dropped by the target", |t| {
        t.drops
    })?;
    counter(
        "pacing_target_retries",
        "Handshakes that were not their session's first",
        |t| t.retries,
    )?;
    counter(
        "pacing_target_given_up",
        "Sessions whose wait ended in vain",
        |t| t.given_up,
    )?;
    let help = "Time from a session's wish for the target to its first handshake";
    let unit = Some(&Unit::Seconds);
    let mut metric = encoder.encode_descriptor("pacing_target_wait", help, unit, MetricType::Histogram)?;
    targets
        .iter()
        .try_for_each(|(labels, target)| encode_waits(&mut metric.encode_family(labels)?, &target.waits))
}

fn counter_of(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: impl EncodeCounterValue,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn gauge_of(metric: &mut MetricEncoder<'_>, labels: &Labels, value: impl EncodeGaugeValue) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

fn encode_waits(metric: &mut MetricEncoder<'_>, waits: &Waits) -> fmt::Result {
    let bounds = waits.bounds.iter().map(Duration::as_secs_f64);
    let bounds = bounds.chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(waits.counts.iter().copied()).collect();
    let count = waits.counts.iter().sum();
    metric.encode_histogram::<NoLabelSet>(waits.sum.as_secs_f64(), count, &buckets, None)
}

#[derive(Debug)]
struct Labels([(&'static str, String); 2]);

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use weir_pace::{Config, Credential, Outcome, Pacer, Priority, TargetId, UserId};

    use super::*;

    #[derive(Debug)]
    struct Paced(Pacer);

    impl Collector for Paced {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encode_totals(&mut encoder, &self.0.totals())?;
            let targets = self.0.busiest(Duration::from_secs(2), TARGETS);
            let targets: Vec<_> = targets
                .into_iter()
                .map(|snapshot| {
                    (
                        Labels([("target", snapshot.target.to_string()), ("node", "web\"1".into())]),
                        snapshot,
                    )
                })
                .collect();
            encode_targets(&mut encoder, &targets)
        }
    }

    /// One of two has waited for 80 ms.
    fn paced() -> Pacer {
        let mut pacer = Pacer::new(Config {
            first_window: 1,
            ..Config::default()
        });
        let (target, user) = (TargetId::from("a:22"), UserId::from("alice"));
        let request = weir_pace::Request {
            target: &target,
            user: &user,
            source: None,
            priority: Priority::Interactive,
            credential: Credential(1),
        };
        let (start, rng) = (Duration::from_secs(1), &mut || 0);
        let weir_pace::Admission::Admitted(first) = pacer.request(start, &request, rng) else {
            panic!("nobody else is there");
        };
        pacer.request(start, &request, rng);
        pacer.report(start + Duration::from_millis(80), first, Outcome::Counted, rng);
        pacer
    }

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn series_say_what_the_pacer_knows() {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Box::new(Paced(paced()))).unwrap();
        let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: weir\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let labels = "target=\"a:22\",node=\"web\\\"1\"";
        for line in [
            "weir_pacing_admitted_total 2".to_owned(),
            "weir_pacing_in_flight 1".to_owned(),
            "weir_pacing_wait_seconds_sum 0.08".to_owned(),
            "weir_pacing_wait_seconds_bucket{le=\"0.0\"} 1".to_owned(),
            "weir_pacing_wait_seconds_bucket{le=\"+Inf\"} 2".to_owned(),
            format!("weir_pacing_target_admitted_total{{{labels}}} 2"),
            format!("weir_pacing_target_wait_seconds_bucket{{le=\"0.1\",{labels}}} 2"),
            format!("weir_pacing_target_penalty_seconds{{{labels}}} 0.0"),
        ] {
            assert!(
                answer.lines().any(|found| found == line),
                "no {line:?} in {answer}"
            );
        }
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[derive(Debug)]
    struct Waiting(Look);

    impl Collector for Waiting {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encode_backlog(&mut encoder, &self.0)
        }
    }

    #[test]
    fn series_say_what_waits_for_the_store() {
        let look = Look {
            recordings: 3,
            bytes: 4_000,
            oldest_us: 61_500_000,
            spool_bytes: 8_192,
            free_bytes: 1 << 40,
            problem: Some("away".to_owned()),
        };
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Box::new(Waiting(look))).unwrap();
        let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: weir\r\n\r\n");
        for line in [
            "weir_recordings_waiting 3.0",
            "weir_recordings_waiting_bytes 4000.0",
            "weir_recordings_waiting_oldest_seconds 61.5",
            "weir_spool_bytes 8192.0",
            "weir_spool_free_bytes 1099511627776.0",
            "weir_store_trouble 1.0",
        ] {
            assert!(
                answer.lines().any(|found| found == line),
                "no {line:?} in {answer}"
            );
        }
    }

    #[test]
    fn other_requests_are_refused_in_words() {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Box::new(Paced(paced()))).unwrap();
        let lost = ask(&server, "GET / HTTP/1.1\r\nHost: weir\r\n\r\n");
        assert!(
            lost.starts_with("HTTP/1.1 404") && lost.contains("expecting /metrics"),
            "{lost}"
        );
        let post = ask(
            &server,
            "POST /metrics HTTP/1.1\r\nHost: weir\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(
            post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
            "{post}"
        );
        assert!(ask(&server, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn silent_connections_hold_up_nobody_and_do_not_outlive_the_server() {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Box::new(Paced(paced()))).unwrap();
        let silent: Vec<_> = (1..CONNECTIONS)
            .map(|_| TcpStream::connect(server.address()).unwrap())
            .collect();
        let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: weir\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(server);
        for mut stream in silent {
            assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        }
    }
}
