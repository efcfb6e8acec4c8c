//! An observer, the way to it, and what to do when it goes away.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pleopod_api::observer::observer_client::ObserverClient;
use pleopod_api::observer::{GetFlowsRequest, GetFlowsResponse};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::agent;
use crate::failure::{Failure, Result};

/// One observer.
pub struct Source {
    /// Its socket or address, for messages.
    pub name: String,
    way: Way,
    client: ObserverClient<Channel>,
}

#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Server(String),
}

/// Between two tries to reach an observer that went away.
const AGAIN: Duration = Duration::from_millis(250);

// === impl Way ===

impl Way {
    async fn connect(&self) -> Result<ObserverClient<Channel>> {
        let channel = match self {
            Self::Socket(path) => agent::channel(path, "observer").await?,
            Self::Server(server) => {
                let wrong = |error: tonic::transport::Error| {
                    Failure::failed(format!("cannot reach the observer at {server}: {error}"))
                };
                let endpoint = Endpoint::from_shared(format!("http://{server}"));
                let usage = |_| Failure::usage(format!("--server {server}: expected HOST:PORT or unix:PATH"));
                let endpoint = endpoint.map_err(usage)?.connect_timeout(Duration::from_secs(5));
                endpoint.connect().await.map_err(wrong)?
            }
        };
        Ok(ObserverClient::new(channel).max_decoding_message_size(16 << 20))
    }
}

// === impl Source ===

impl Source {
    /// The observer that `--server` names: `HOST:PORT` or `unix:PATH`.
    pub async fn server(server: &str) -> Result<Self> {
        let way = match server.strip_prefix("unix:") {
            Some(path) => Way::Socket(path.strip_prefix("//").unwrap_or(path).into()),
            None => Way::Server(server.to_owned()),
        };
        Ok(Self { name: server.to_owned(), client: way.connect().await?, way })
    }

    /// The observer that listens at `socket`.
    pub async fn socket(socket: PathBuf) -> Result<Self> {
        let (name, way) = (socket.display().to_string(), Way::Socket(socket));
        Ok(Self { name, client: way.connect().await?, way })
    }

    /// Sends what the observer answers to `request`, and why it failed. When flows are followed, an observer that goes
    /// away is waited for; how long it was away is told.
    pub async fn ask(mut self, request: GetFlowsRequest, sender: mpsc::Sender<Result<GetFlowsResponse>>) {
        let mut next = request.clone();
        // From here on flows are missing when nothing came before.
        let mut latest = now();
        let mut left = None;
        loop {
            let ended = self.pass_on(&next, &sender, &mut latest, &mut left).await;
            let over = request.until.as_ref().is_some_and(|until| (until.seconds, until.nanos) <= latest);
            match ended {
                Ended::NobodyListens => return,
                Ended::Done if !request.follow || over => return,
                // Asking again would change nothing.
                Ended::Failed(status) if !request.follow || is_refusal(&status) => {
                    let failure = Failure::call("observe flows", &self.name, &status);
                    return drop(sender.send(Err(failure)).await);
                }
                Ended::Failed(_) | Ended::Done => {}
            }
            if left.is_none() {
                left = Some(Instant::now());
                say(&format!(
                    "the observer at {} is gone: its agent has stopped or restarted; waiting for it to come back",
                    self.name
                ));
            }
            loop {
                tokio::time::sleep(AGAIN).await;
                if sender.is_closed() {
                    return;
                }
                if let Ok(client) = self.way.connect().await {
                    self.client = client;
                    break;
                }
            }
            // What it saw since the last flow that arrived, and nothing twice.
            let (seconds, nanos) = latest;
            let since = match nanos {
                999_999_999 => pleopod_api::Timestamp { seconds: seconds + 1, nanos: 0 },
                _ => pleopod_api::Timestamp { seconds, nanos: nanos + 1 },
            };
            next = GetFlowsRequest { number: 0, since: Some(since), ..request.clone() };
        }
    }

    /// Passes one answer on to its end.
    async fn pass_on(
        &mut self,
        request: &GetFlowsRequest,
        sender: &mpsc::Sender<Result<GetFlowsResponse>>,
        latest: &mut (i64, i32),
        left: &mut Option<Instant>,
    ) -> Ended {
        let mut stream = match self.client.get_flows(request.clone()).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ended::Failed(status),
        };
        if let Some(left) = left.take() {
            let away = left.elapsed().as_secs_f64();
            say(&format!(
                "the observer at {} is back after {away:.1} s; flows of that time may be missing",
                self.name
            ));
        }
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    *latest = (*latest).max(super::when(&message));
                    if sender.send(Ok(message)).await.is_err() {
                        return Ended::NobodyListens;
                    }
                }
                Ok(None) => return Ended::Done,
                Err(status) => return Ended::Failed(status),
            }
        }
    }
}

/// How an answer ended.
enum Ended {
    NobodyListens,
    Done,
    Failed(tonic::Status),
}

/// Whether the observer itself said no, instead of going away.
fn is_refusal(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
    )
}

fn now() -> (i64, i32) {
    let now = Timestamp::now();
    (now.as_second(), now.subsec_nanosecond())
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "pleopod: {what}");
}
