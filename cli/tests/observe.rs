//! `observe` against observers that serve fixed flows.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use pleopod_api::flow::{self, Flow, layer4::Protocol};
use pleopod_api::observer::get_flows_response::ResponseTypes;
use pleopod_api::observer::observer_server::{Observer, ObserverServer};
use pleopod_api::observer::*;
use pleopod_api::words;
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

/// A run root with a lab of two nodes, each with an observer.
struct Lab {
    root: tempfile::TempDir,
    asked: Arc<Mutex<Vec<GetFlowsRequest>>>,
    _runtime: tokio::runtime::Runtime,
}

/// Sees the given SYNs (second, source port), then, when followed, one more every 20 ms.
#[derive(Clone)]
struct Fixed {
    node: &'static str,
    seen: Vec<(i64, u32)>,
    asked: Arc<Mutex<Vec<GetFlowsRequest>>>,
}

impl Lab {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let asked = Arc::default();
        for (node, seen) in
            [("k8s-s", vec![(1, 41320), (3, 41322)]), ("k8s-w1", vec![(2, 41321), (4, 41323)])]
        {
            let dir = root.path().join("pleopod-lab/w4").join(node);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("agent.sock"), "").unwrap();
            let listener = runtime.block_on(async { UnixListener::bind(dir.join("hubble.sock")).unwrap() });
            let fixed = Fixed { node, seen, asked: Arc::clone(&asked) };
            runtime.spawn(
                tonic::transport::Server::builder()
                    .add_service(ObserverServer::new(fixed))
                    .serve_with_incoming(UnixListenerStream::new(listener)),
            );
        }
        Self { root, asked, _runtime: runtime }
    }

    fn command(&self, args: &[&str]) -> Command {
        command(self.root.path(), args)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn lines(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pleopod"));
    command.env_clear().env("TZ", "UTC").env("PLEOPOD_RUN_ROOT", root).args(args);
    command
}

fn response(node: &str, second: i64, port: u32) -> GetFlowsResponse {
    let time = Some(pleopod_api::Timestamp { seconds: 1_729_508_400 + second, nanos: 5_000_000 });
    let pod = |name: &str, identity| {
        Some(flow::Endpoint {
            identity,
            namespace: "default".into(),
            pod_name: name.into(),
            ..Default::default()
        })
    };
    let tcp = flow::Tcp {
        source_port: port,
        destination_port: 80,
        flags: Some(flow::TcpFlags { syn: true, ..Default::default() }),
    };
    let flow = Flow {
        time,
        verdict: flow::Verdict::Forwarded.into(),
        source: pod("netpod", 39126),
        destination: pod("webpod1", 25054),
        l4: Some(flow::Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        node_name: node.into(),
        event_type: Some(flow::CiliumEventType { r#type: words::EVENT_TRACE, sub_type: 11 }),
        trace_observation_point: flow::TraceObservationPoint::ToNetwork.into(),
        is_reply: Some(false.into()),
        ..Default::default()
    };
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name: node.into(), time }
}

#[tonic::async_trait]
impl Observer for Fixed {
    type GetFlowsStream = ReceiverStream<Result<GetFlowsResponse, Status>>;
    type GetAgentEventsStream = ReceiverStream<Result<GetAgentEventsResponse, Status>>;
    type GetDebugEventsStream = ReceiverStream<Result<GetDebugEventsResponse, Status>>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let request = request.into_inner();
        let follow = request.follow;
        self.asked.lock().unwrap().push(request);
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let fixed = self.clone();
        tokio::spawn(async move {
            for (second, port) in fixed.seen {
                let _ = sender.send(Ok(response(fixed.node, second, port))).await;
            }
            for second in 100.. {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                if !follow || sender.send(Ok(response(fixed.node, second, 50_000))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[test]
fn every_node_of_the_lab_in_order_of_time() {
    let lab = Lab::start();
    insta::assert_snapshot!("compact", lab.lines(&["observe", "--print-node-name"]));
    insta::assert_snapshot!("last", lab.lines(&["observe", "--last", "2"]));
    insta::assert_snapshot!("table", lab.lines(&["observe", "-o", "table"]));
    insta::assert_snapshot!("dict", lab.lines(&["observe", "-o", "dict", "--node", "k8s-s"]));
    let json = lab.lines(&["observe", "-o", "json", "--last", "1", "--time-format", "rfc3339"]);
    assert_eq!(json, lab.lines(&["observe", "-o", "jsonpb", "--last", "1"]));
    insta::assert_snapshot!("json", json);
}

#[test]
fn one_node_by_name_with_filters() {
    let lab = Lab::start();
    let text = lab.lines(&[
        "--node",
        "k8s-w1",
        "observe",
        "--pod",
        "netpod",
        "--verdict",
        "dropped",
        "--since",
        "5m",
    ]);
    assert_eq!(text.lines().count(), 2);
    let asked = lab.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    let (left, right) = (&asked[0].whitelist[0], &asked[0].whitelist[1]);
    assert_eq!(
        (left.source_pod.as_slice(), right.destination_pod.as_slice()),
        (&["netpod".to_owned()][..], &["netpod".to_owned()][..])
    );
    assert_eq!((&left.verdict, &right.verdict), (&vec![2], &vec![2]));
    assert!(asked[0].since.is_some() && asked[0].number == 0);
    drop(asked);
    lab.lines(&[
        "--node=k8s-s",
        "observe",
        "--not",
        "--port",
        "53",
        "--pod=netpod",
        "--not",
        "-n",
        "kube-system",
    ]);
    let asked = lab.asked.lock().unwrap();
    let (white, black) = (&asked[1].whitelist, &asked[1].blacklist);
    assert_eq!((white.len(), black.len()), (2, 2));
    assert_eq!((white[0].source_port.len(), white[0].source_pod.as_slice()), (0, &["netpod".to_owned()][..]));
    assert_eq!((black[0].source_port[0].as_str(), black[0].source_pod[0].as_str()), ("53", "kube-system/"));
}

#[test]
fn following_goes_on_until_the_reader_leaves() {
    let lab = Lab::start();
    let mut child = lab.command(&["observe", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> =
        BufReader::new(child.stdout.take().unwrap()).lines().take(12).map(|l| l.unwrap()).collect();
    let first: Vec<_> = lines.iter().take(4).map(|line| line.contains("netpod:4132")).collect();
    assert_eq!(first, [true; 4], "{lines:?}");
    assert!(lines[11].contains("netpod:50000"), "{lines:?}");
    // Its next line finds nobody: that is no error.
    assert!(child.wait().unwrap().success());
}

/// An observer of one node that can be killed and started again.
struct Mortal {
    dir: tempfile::TempDir,
    alive: Option<tokio::runtime::Runtime>,
    asked: Arc<Mutex<Vec<GetFlowsRequest>>>,
}

impl Mortal {
    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("hubble.sock")
    }

    fn live(&mut self, seen: Vec<(i64, u32)>) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(self.socket());
        let listener = runtime.block_on(async { UnixListener::bind(self.socket()).unwrap() });
        let fixed = Fixed { node: "n", seen, asked: Arc::clone(&self.asked) };
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(ObserverServer::new(fixed))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        self.alive = Some(runtime);
    }

    fn die(&mut self) {
        self.alive.take().unwrap().shutdown_timeout(std::time::Duration::from_secs(5));
    }
}

#[test]
fn following_survives_the_observer_and_says_so() {
    let mut observer = Mortal { dir: tempfile::tempdir().unwrap(), alive: None, asked: Arc::default() };
    observer.live(vec![(1, 41320)]);
    let server = format!("unix:{}", observer.socket().display());
    let mut child =
        command(observer.dir.path(), &["observe", "--follow", "--last", "7", "--server", &server])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("netpod:41320"));
    observer.die();
    let gone = said.next().unwrap();
    let expected = format!(
        "pleopod: the observer at {server} is gone: its agent has stopped or restarted; waiting for it to come back"
    );
    assert_eq!(gone, expected);
    observer.live(vec![(2, 41399)]);
    let back = said.next().unwrap();
    assert!(back.starts_with(&format!("pleopod: the observer at {server} is back after ")), "{back}");
    assert!(back.ends_with(" s; flows of that time may be missing"), "{back}");
    assert!(lines.any(|line| line.contains("netpod:41399")), "flows of the new one follow");
    let asked = observer.asked.lock().unwrap().clone();
    assert_eq!((asked[0].number, asked[0].since), (7, None));
    let since = asked[1].since.expect("no flow twice");
    assert!(asked[1].number == 0 && since.seconds > 1_729_508_400, "{asked:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_stream_that_is_cut_is_one_clear_line() {
    let mut observer = Mortal { dir: tempfile::tempdir().unwrap(), alive: None, asked: Arc::default() };
    // More than fits the pipe and the buffers between: it can't be done when the observer dies.
    observer.live((0..200_000).map(|n| (n, 41320)).collect());
    let server = format!("unix:{}", observer.socket().display());
    let mut child = command(observer.dir.path(), &["observe", "--all", "--server", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("netpod:41320"));
    observer.die();
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "pleopod: cannot observe flows: agent at {server}: the connection was cut; it has stopped or restarted, see its log\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn a_node_that_is_gone_does_not_hide_the_others() {
    let lab = Lab::start();
    std::fs::remove_file(lab.root.path().join("pleopod-lab/w4/k8s-s/hubble.sock")).unwrap();
    let output = lab.run(&["observe"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("k8s-s/hubble.sock") && error.ends_with("flows of that node are missing\n"),
        "{error}"
    );
    let output = lab.run(&["observe", "--node", "k8s-s"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn lab_becomes_the_lab_program() {
    let dir = tempfile::tempdir().unwrap();
    // Beside the tested program there may be a built one; a copy of the program stands alone.
    let alone = dir.path().join("bin/pleopod");
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_pleopod"), &alone).unwrap();
    let run_alone = |path: &Path| {
        Command::new(&alone)
            .env_clear()
            .env("PATH", path)
            .args(["--lab", "w4", "lab", "up", "--name", "x"])
            .output()
            .unwrap()
    };
    let output = run_alone(dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither beside this program nor in PATH"));
    let script = dir.path().join("pleopod-lab");
    std::fs::write(&script, "#!/bin/sh\necho \"$PLEOPOD_LAB: $*\"\nexit 7\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = run_alone(dir.path());
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "w4: up --name x\n");
}
