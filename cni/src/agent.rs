//! The way to the agent: one unary call over its unix socket.

use std::future::Future;
use std::time::Duration;

use pleopod_api::agent::cni_client::CniClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code as Grpc, Response, Status};

use crate::error::{Code, Error};

/// Runtimes give up on a plugin after minutes; an agent that has not answered by then will not.
const DEADLINE: Duration = Duration::from_secs(60);

/// Connects to `socket` and makes one call.
pub fn call<T, F>(socket: &str, what: &str, f: impl FnOnce(CniClient<Channel>) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Code::Io, format!("starting: {e}")))?;
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{socket}"))
            .map_err(|e| Error::new(Code::InvalidConfig, format!("`socket` {socket:?}: {e}")))?
            .timeout(DEADLINE);
        let channel = endpoint.connect().await.map_err(|e| unreachable(socket, what, &root_cause(&e)))?;
        match f(CniClient::new(channel)).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => Err(from_status(socket, what, &status)),
        }
    })
}

fn unreachable(socket: &str, what: &str, why: &str) -> Error {
    let msg = format!(
        "{what}: pleopod-agent does not answer at {socket} ({why}); check that the pleopod pod of this node runs, the call can be tried again"
    );
    Error::new(Code::TryAgainLater, msg)
}

fn from_status(socket: &str, what: &str, status: &Status) -> Error {
    let code = match status.code() {
        Grpc::Unavailable | Grpc::Cancelled | Grpc::Unknown if status.message().contains("transport") => {
            return unreachable(socket, what, status.message());
        }
        Grpc::Unavailable | Grpc::ResourceExhausted | Grpc::DeadlineExceeded | Grpc::Aborted => {
            Code::TryAgainLater
        }
        Grpc::NotFound | Grpc::FailedPrecondition => Code::UnknownContainer,
        Grpc::InvalidArgument => Code::InvalidEnvironment,
        _ => Code::Refused,
    };
    Error::new(code, format!("{what}: {}", status.message()))
}

/// The last link of an error's chain says what the system said.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
