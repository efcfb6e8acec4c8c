//! The connection to an agent.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use pleopod_api::agent::agent_client::AgentClient;
use tonic::transport::{Channel, Endpoint};

use crate::args;
use crate::failure::{Failure, Result};
use crate::place::{self, Found};

/// An agent and the way to it.
pub struct Agent {
    /// Its service.
    pub client: AgentClient<Channel>,
    /// Where it listens, for messages.
    pub socket: String,
}

// === impl Agent ===

impl Agent {
    /// Connects to the agent that `place` names.
    pub async fn connect(place: &args::Place) -> Result<Self> {
        Self::at(&place::find(place)?).await
    }

    /// Connects to an agent that was found.
    pub async fn at(found: &Found) -> Result<Self> {
        let channel = channel(&found.socket, "agent").await?;
        // A full conntrack table is several times the 4 MiB that are the default.
        let client = AgentClient::new(channel).max_decoding_message_size(1 << 30);
        Ok(Self { client, socket: found.socket.display().to_string() })
    }

    /// Turns an answer into its message, or the error into one that says what was being done.
    pub fn answer<T>(
        &self,
        doing: &str,
        answer: std::result::Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T> {
        answer.map(tonic::Response::into_inner).map_err(|status| Failure::call(doing, &self.socket, &status))
    }
}

/// A channel to the unix socket `path`, where `who` should listen.
pub async fn channel(path: &Path, who: &str) -> Result<Channel> {
    // Tried by hand first: the transport's own error would not say which of these it was.
    if let Err(error) = UnixStream::connect(path) {
        let why = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such socket; is pleopod-agent running on that node?".to_owned()
            }
            io::ErrorKind::ConnectionRefused => {
                "nobody listens; pleopod-agent has stopped, see its log".to_owned()
            }
            io::ErrorKind::PermissionDenied => "permission denied; run this command as root".to_owned(),
            _ => error.to_string(),
        };
        return Err(Failure::failed(format!("cannot reach the {who} at {}: {why}", path.display())));
    }
    let unreachable = |error: tonic::transport::Error| {
        Failure::failed(format!("cannot reach the {who} at {}: {error}", path.display()))
    };
    let Some(text) = path.to_str() else {
        return Err(Failure::usage(format!("the socket path {} is not text", path.display())));
    };
    let absolute = if path.is_absolute() { text.to_owned() } else { format!("./{text}") };
    Endpoint::from_shared(format!("unix:{absolute}"))
        .map_err(unreachable)?
        .connect()
        .await
        .map_err(unreachable)
}
