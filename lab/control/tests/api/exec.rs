//! `kubectl logs` and `kubectl exec` against a stand-in for the containers.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kube::Api;
use kube::api::AttachParams;
use pleopod_lab_control::{ExecIo, ExecOutcome, ExecRequest, LogRequest, LogStream, PodStreams, StreamError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::Cluster;

/// Runs no programs, but plays some.
struct Stage;

impl PodStreams for Stage {
    fn logs(&self, req: LogRequest) -> BoxFuture<'static, Result<LogStream, StreamError>> {
        async move {
            if req.previous {
                return Err(StreamError::BadRequest("previous terminated container not found".into()));
            }
            let lines = ["one\n", "two\n", "three\n"];
            let skip = lines.len().saturating_sub(usize::try_from(req.tail.unwrap_or(99)).unwrap_or(99));
            let s = futures::stream::iter(lines[skip..].to_vec()).map(|l| Ok(Bytes::from(l)));
            Ok(s.boxed() as LogStream)
        }
        .boxed()
    }

    fn exec(&self, req: ExecRequest, mut io: ExecIo) -> BoxFuture<'static, Result<ExecOutcome, StreamError>> {
        async move {
            let command = req.command.unwrap_or_default();
            match command.first().map(String::as_str) {
                Some("echo") => {
                    let _ = io.stdout.send(Bytes::from(format!("{}\n", command[1..].join(" ")))).await;
                    let _ = io.stderr.send(Bytes::from("aside\n")).await;
                }
                Some("cat") => {
                    while let Some(b) = io.stdin.recv().await {
                        let _ = io.stdout.send(b).await;
                    }
                }
                Some("flood") => {
                    for _ in 0..256 {
                        let _ = io.stdout.send(Bytes::from(vec![b'x'; 4096])).await;
                    }
                }
                Some("false") => return Ok(ExecOutcome::Exited(7)),
                _ => return Err(StreamError::Internal("no such program".into())),
            }
            Ok(ExecOutcome::Exited(0))
        }
        .boxed()
    }

    fn forward(
        &self,
        _: String,
        _: String,
        port: u16,
        mut io: ExecIo,
    ) -> BoxFuture<'static, Result<ExecOutcome, StreamError>> {
        async move {
            let peer = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            let (mut from, mut to) = peer.map_err(|e| StreamError::Internal(e.to_string()))?.into_split();
            let up = async {
                while let Some(b) = io.stdin.recv().await {
                    let _ = to.write_all(&b).await;
                }
                let _ = to.shutdown().await;
            };
            let down = async {
                let mut b = [0; 4096];
                while let Ok(n @ 1..) = from.read(&mut b).await {
                    let _ = io.stdout.send(Bytes::copy_from_slice(&b[..n])).await;
                }
            };
            tokio::join!(up, down);
            Ok(ExecOutcome::Exited(0))
        }
        .boxed()
    }
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: n1, containers: [{name: c, image: i}]}\n";

async fn staged() -> Cluster {
    let c = Cluster::start();
    c.control.set_streams(Arc::new(Stage));
    c.feed("create -f -", POD).await;
    c
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_of_kubectl() {
    exec(&staged().await, "true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_of_an_older_kubectl() {
    // Without WebSockets it speaks SPDY, as kubectl did before 1.30.
    exec(&staged().await, "false").await;
}

async fn exec(c: &Cluster, web_sockets: &str) {
    let run = async |args: &[&str], stdin: &str| {
        let mut k = c.command("admin");
        c.finish(k.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets).args(args), stdin).await
    };
    let said = run(&["exec", "p", "--", "echo", "a b", "c"], "").await;
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("a b c\n", "aside\n", 0));
    let said = run(&["exec", "p", "--", "false"], "").await;
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(said.err.contains("command terminated with exit code 7"), "{}", said.err);
    let said = run(&["exec", "-i", "p", "--", "cat"], "through and back").await;
    assert_eq!((said.out.as_str(), said.code), ("through and back", 0), "{}", said.err);
    let said = run(&["exec", "p", "--", "flood"], "").await;
    assert_eq!((said.out.len(), said.code), (256 * 4096, 0), "{}", said.err);
    let said = run(&["exec", "p", "--", "nothing"], "").await;
    assert!(said.err.contains("no such program"), "{}", said.err);
    let said = run(&["exec", "p", "-c", "z", "--", "echo"], "").await;
    assert!(said.err.contains("container z"), "{}", said.err);
    let said = run(&["exec", "q", "--", "echo"], "").await;
    assert!(said.err.contains("pods \"q\" not found"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_kubectl() {
    let c = staged().await;
    assert_eq!(c.kubectl("logs p").await, "one\ntwo\nthree\n");
    assert_eq!(c.kubectl("logs p --tail=1").await, "three\n");
    assert_eq!(c.kubectl("logs -f p -c c").await, "one\ntwo\nthree\n");
    assert!(c.refused("logs p --previous", "").await.contains("previous terminated container"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_of_kube_rs() {
    let c = staged().await;
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(c.client().await);
    let p = AttachParams::default().stdin(true).stderr(false);
    let mut run = api.exec("p", ["cat"], &p).await.expect("exec");
    let (mut stdin, mut stdout) = (run.stdin().expect("stdin"), run.stdout().expect("stdout"));
    stdin.write_all(b"hello").await.expect("write");
    let mut got = [0; 5];
    stdout.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"hello");
    drop(stdin);
    drop(run);
}

/// Answers each line in capitals.
async fn shouter() -> u16 {
    let l = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = l.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut s, _)) = l.accept().await {
            tokio::spawn(async move {
                let mut b = [0; 4096];
                while let Ok(n @ 1..) = s.read(&mut b).await {
                    let _ = s.write_all(&b[..n].to_ascii_uppercase()).await;
                }
            });
        }
    });
    port
}

async fn forwarded(web_sockets: &str) {
    let c = staged().await;
    c.run(
        "admin",
        &["patch", "pod", "p", "--subresource=status", "-p", r#"{"status":{"phase":"Running"}}"#],
        "",
    )
    .await;
    let port = shouter().await;
    let mut k = c.command("admin");
    k.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets).args(["port-forward", "p", &format!(":{port}")]);
    let mut child = k.spawn().expect("kubectl");
    let mut out = tokio::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    let wait = tokio::time::timeout(std::time::Duration::from_secs(20), out.read_line(&mut line));
    wait.await.expect("in time").expect("a line");
    let at = line.split(' ').find(|w| w.starts_with("127.0.0.1:")).unwrap_or_else(|| panic!("{line:?}"));
    // Three connections at once, then one after another, and the large one whole.
    let call = async |text: &str| {
        let mut s = tokio::net::TcpStream::connect(at).await.expect("kubectl listens");
        let (mut r, mut w) = s.split();
        let mut got = vec![0; text.len()];
        let (sent, read) = tokio::join!(w.write_all(text.as_bytes()), r.read_exact(&mut got));
        sent.expect("write");
        read.expect("read");
        assert_eq!(String::from_utf8_lossy(&got), text.to_ascii_uppercase());
    };
    tokio::join!(call("one"), call("two"), call("three"));
    call("four").await;
    call(&"long ".repeat(50_000)).await;
    child.kill().await.expect("kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_of_kubectl() {
    forwarded("true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_of_an_older_kubectl() {
    forwarded("false").await;
}
