//! A client of the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Error;
use crate::error::chain;

/// How the API server is reached.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// A kubeconfig; `None` for the service account of the pod the agent runs in.
    pub kubeconfig: Option<PathBuf>,
    /// URL that replaces the one of the kubeconfig or service account. Needed where the Service address of the API
    /// server is not reachable before this agent has made it so.
    pub server: Option<String>,
}

/// Makes a client. Nothing is sent yet.
pub async fn connect(connection: &Connection) -> Result<Client, Error> {
    let mut config = match &connection.kubeconfig {
        Some(path) => {
            let shown = path.display();
            let file = Kubeconfig::read_from(path)
                .map_err(|e| Error::Connect(format!("kubeconfig {shown}: {}", chain(&e))))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|e| Error::Connect(format!("kubeconfig {shown}: {}", chain(&e))))?
        }
        None => Config::incluster().map_err(|e| {
            Error::Connect(format!(
                "no kubeconfig is given, and this is not a pod with a service account ({}); give --kubeconfig",
                chain(&e)
            ))
        })?,
    };
    if let Some(server) = &connection.server {
        config.cluster_url =
            server.parse().map_err(|e| Error::Connect(format!("API server {server:?} is not a URL: {e}")))?;
    }
    config.connect_timeout = Some(Duration::from_secs(5));
    // Whoever asks tries again by itself and tells why; a client that does so unseen hides a server that is away.
    config.default_retry = false;
    Client::try_from(config).map_err(|e| Error::Connect(chain(&e)))
}
