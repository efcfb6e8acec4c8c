//! `kubectl logs` and `kubectl exec` against a stand-in for the containers.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kube::Api;
use kube::api::AttachParams;
use pleopod_lab_control::{ExecIo, ExecOutcome, ExecRequest, LogRequest, LogStream, PodStreams, StreamError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
    let c = staged().await;
    let said = c.run("admin", &["exec", "p", "--", "echo", "a b", "c"], "").await;
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("a b c\n", "aside\n", 0));
    let said = c.run("admin", &["exec", "p", "--", "false"], "").await;
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(said.err.contains("command terminated with exit code 7"), "{}", said.err);
    let said = c.run("admin", &["exec", "-i", "p", "--", "cat"], "through and back").await;
    assert_eq!((said.out.as_str(), said.code), ("through and back", 0), "{}", said.err);
    let said = c.run("admin", &["exec", "p", "--", "flood"], "").await;
    assert_eq!((said.out.len(), said.code), (256 * 4096, 0), "{}", said.err);
    let said = c.run("admin", &["exec", "p", "--", "nothing"], "").await;
    assert!(said.err.contains("no such program"), "{}", said.err);
    let said = c.run("admin", &["exec", "p", "-c", "z", "--", "echo"], "").await;
    assert!(said.err.contains("container z"), "{}", said.err);
    let said = c.run("admin", &["exec", "q", "--", "echo"], "").await;
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
