//! `kubectl logs`, `exec` and `attach`: the wire formats, and the trait behind which the containers are.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

mod session;
pub mod spdy;
pub mod websocket;

/// What `kubectl logs` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Go on as lines come.
    pub follow: bool,
    /// Of the run before.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only lines of the last so many seconds.
    pub since_seconds: Option<i64>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// What `kubectl exec` and `kubectl attach` ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Program and arguments; `None` attaches to the main process.
    pub command: Option<Vec<String>>,
    /// A terminal is wanted.
    pub tty: bool,
    /// Standard input is sent.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted, apart from standard output.
    pub stderr: bool,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The ends of the streams of one exec. Dropping the senders ends the output.
#[derive(Debug)]
pub struct ExecIo {
    /// What the user types; closed at end of file.
    pub stdin: mpsc::Receiver<Bytes>,
    /// To the user.
    pub stdout: mpsc::Sender<Bytes>,
    /// To the user, apart.
    pub stderr: mpsc::Sender<Bytes>,
    /// Changes of the size of the user's terminal.
    pub resize: mpsc::Receiver<TermSize>,
}

/// How an exec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecOutcome {
    /// The program ended with this code.
    Exited(i32),
}

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such container running.
    #[error("{0}")]
    NotFound(String),
    /// The container is there but cannot do this (now).
    #[error("{0}")]
    BadRequest(String),
    /// It should have worked.
    #[error("{0}")]
    Internal(String),
}

/// The bytes of a log.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Who runs the containers answers for their streams.
pub trait PodStreams: Send + Sync + 'static {
    /// Opens the log of a container.
    fn logs(&self, req: LogRequest) -> BoxFuture<'static, Result<LogStream, StreamError>>;

    /// Runs a program in a container (or attaches to its main process) until it ends, or until the future is dropped
    /// because the client went away.
    fn exec(&self, req: ExecRequest, io: ExecIo) -> BoxFuture<'static, Result<ExecOutcome, StreamError>>;

    /// Connects to a TCP port inside a pod, for `kubectl port-forward`: what comes on `io.stdin` goes to the port, what
    /// the port says goes to `io.stdout`. Unless better known, `socat` in the pod does it.
    fn forward(
        &self,
        namespace: String,
        pod: String,
        port: u16,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<ExecOutcome, StreamError>> {
        let command =
            ["socat", "-T", "3600", "-", &format!("TCP:localhost:{port}")].map(str::to_owned).to_vec();
        let req = ExecRequest {
            namespace,
            pod,
            command: Some(command),
            stdin: true,
            stdout: true,
            stderr: true,
            ..ExecRequest::default()
        };
        self.exec(req, io)
    }
}
