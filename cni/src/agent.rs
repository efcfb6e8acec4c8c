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
    // The agent itself never answers with the first two: the call was cut off, or nobody answered in time.
    let cut_off = match status.code() {
        Grpc::Cancelled | Grpc::Unknown => true,
        Grpc::Unavailable | Grpc::Internal => {
            ["transport error", "h2 protocol error"].iter().any(|t| status.message().contains(t))
        }
        _ => false,
    };
    if cut_off {
        return unreachable(socket, what, status.message());
    }
    let code = match status.code() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_dies_or_hangs_in_the_middle_can_be_asked_again() {
        for status in [
            Status::cancelled("Timeout expired"),
            Status::unknown("h2 protocol error: error reading a body from connection"),
            Status::unavailable("transport error"),
            Status::internal("h2 protocol error: stream closed because of a broken pipe"),
        ] {
            let error = from_status("/run/agent.sock", "DEL of container c1", &status);
            assert_eq!(error.code(), Code::TryAgainLater, "{status:?}");
            let text = error.to_string();
            assert!(text.contains("pleopod-agent does not answer at /run/agent.sock"), "{text}");
        }
        let kernel = Status::internal("create veth pair: File exists");
        assert_eq!(from_status("/run/agent.sock", "ADD", &kernel).code(), Code::Refused);
        let starting = Status::unavailable("pleopod-agent is not ready: kubernetes: starting");
        assert_eq!(from_status("/run/agent.sock", "ADD", &starting).code(), Code::TryAgainLater);
    }
}
