//! Ports come and go with what is wanted; answers are read as a load balancer reads them.

use std::sync::Mutex;

use pleopod_model::ObjectName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn check(name: &str, local_endpoints: usize) -> HealthCheck {
    HealthCheck { service: ObjectName::new("default", name), local_endpoints }
}

/// A port that is free now.
fn free() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

async fn get(address: &str, port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    stream.write_all(b"GET /any HTTP/1.1\r\nHost: node\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

/// Asks until the answer holds; what is done in another task takes a moment.
async fn until(what: &str, port: u16, holds: impl Fn(Option<&str>) -> bool) {
    let mut last = None;
    for _ in 0..500 {
        last = get("127.0.0.1", port).await;
        if holds(last.as_deref()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {last:?}");
}

type Told = Arc<Mutex<Vec<BTreeMap<u16, String>>>>;

fn start(
    checks: BTreeMap<u16, HealthCheck>,
) -> (watch::Sender<BTreeMap<u16, HealthCheck>>, Told, JoinHandle<()>) {
    let (sender, wanted) = watch::channel(checks);
    let told = Told::default();
    let tell = {
        let told = told.clone();
        move |unheard| {
            told.lock().expect("a lock").push(unheard);
            true
        }
    };
    let health = Arc::new(Health::new(&[]));
    let served = tokio::spawn(serve(wanted, health, Duration::from_millis(20), tell));
    (sender, told, served)
}

#[tokio::test]
async fn a_port_says_what_is_true_now_and_goes_with_its_service() {
    let port = free();
    let (wanted, told, served) = start(BTreeMap::from([(port, check("web", 2))]));
    until("two endpoints", port, |said| said.is_some_and(|said| said.starts_with("HTTP/1.1 200 OK\r\n")))
        .await;
    for address in ["127.0.0.1", "::1"] {
        let Some(said) = get(address, port).await else {
            assert_eq!(address, "::1", "IPv4 is always there");
            continue;
        };
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        for header in [
            "content-type: application/json",
            "x-content-type-options: nosniff",
            "x-load-balancing-endpoint-weight: 2",
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        assert_eq!(
            body,
            r#"{"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#
        );
    }
    wanted.send_replace(BTreeMap::from([(port, check("web", 0))]));
    until("no endpoint", port, |said| {
        said.is_some_and(|said| {
            said.starts_with("HTTP/1.1 503 ")
                && said.contains("endpoint-weight: 0\r\n")
                && said.ends_with(r#""localEndpoints":0,"serviceProxyHealthy":true}"#)
        })
    })
    .await;
    wanted.send_replace(BTreeMap::new());
    until("closed", port, |said| said.is_none()).await;
    assert!(told.lock().expect("a lock").is_empty(), "nothing was wrong");
    drop(wanted);
    served.await.expect("it ends when nobody wants any more");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_had_once_it_is_free() {
    let holder = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = holder.local_addr().expect("its address").port();
    let other = free();
    let (wanted, told, served) = start(BTreeMap::from([(port, check("web", 1)), (other, check("db", 1))]));
    until("the other one is served", other, |said| said.is_some_and(|said| said.contains("\"db\""))).await;
    let first = told.lock().expect("a lock").first().cloned().expect("it was told");
    assert_eq!(first.keys().collect::<Vec<_>>(), [&port]);
    let problem = problem(&check("web", 1), port, &first[&port]).to_string();
    let said = format!(
        "Service default/web spec.healthCheckNodePort: port {port} of the node can't be listened at (Address already in use \
         (os error 98)); load balancers get no answer from this node"
    );
    assert!(problem.starts_with(&said), "{problem}");
    drop(holder);
    until("it is free", port, |said| said.is_some_and(|said| said.contains("\"web\""))).await;
    assert_eq!(told.lock().expect("a lock").last(), Some(&BTreeMap::new()), "told that it is over");
    drop(wanted);
    served.await.expect("it ends");
}

#[test]
fn an_agent_that_is_stuck_says_so() {
    let said = answer(&check("web", 3), false);
    assert_eq!(said.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.body().ends_with(r#""localEndpoints":3,"serviceProxyHealthy":false}"#));
}
