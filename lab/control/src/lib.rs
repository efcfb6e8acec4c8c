//! A Kubernetes control plane in one process: an API server that keeps its objects in memory, and the
//! controllers a small cluster needs. Stock kubectl and client libraries speak to it over TLS.
//!
//! Nothing is written to disk: when the process ends, the cluster is gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

mod admission;
mod auth;
mod controllers;
mod core;
mod crd;
mod discovery;
mod error;
mod expiry;
mod form;
mod meta;
mod openapi;
mod ops;
mod patch;
mod pki;
mod query;
mod random;
mod resource;
mod route;
mod schema;
mod select;
mod server;
mod store;
mod streams;
mod table;
mod watch;
mod wire;

pub use error::{ApiError, FieldError};
pub use pki::PkiError;
pub use streams::{
    ExecIo, ExecOutcome, ExecRequest, LogRequest, LogStream, PodStreams, StreamError, TermSize,
};

use crate::core::Core;

/// What a control plane is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the cluster, as it stands in kubeconfigs.
    pub cluster: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// Range pod addresses of nodes are cut from, as `10.244.0.0/16`.
    pub cluster_cidr: String,
    /// Prefix length of one node's block.
    pub node_prefix: u8,
    /// Range ClusterIPs are taken from.
    pub service_cidr: String,
    /// The cluster DNS address; never given to another Service.
    pub dns_ip: IpAddr,
    /// Where pods reach the API server: the endpoint of the `kubernetes` Service.
    pub endpoint: Option<(IpAddr, u16)>,
    /// Further addresses the server's certificate is good for.
    pub addresses: Vec<IpAddr>,
    /// How many changes each resource remembers for watches.
    pub window: usize,
    /// How often a quiet watch hears of progress.
    pub bookmark_every: Duration,
    /// Run the controllers (scheduler, workloads, endpoints, garbage collection, ...).
    pub controllers: bool,
}

/// A running control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    core: Arc<Core>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "pleopod-lab".into(),
            domain: "cluster.local".into(),
            cluster_cidr: "10.244.0.0/16".into(),
            node_prefix: 24,
            service_cidr: "10.96.0.0/12".into(),
            dns_ip: IpAddr::from([10, 96, 0, 10]),
            endpoint: None,
            addresses: Vec::new(),
            window: 20_000,
            bookmark_every: Duration::from_secs(30),
            controllers: true,
        }
    }
}

// === impl Control ===

impl Control {
    /// Starts a control plane. Must be called inside a tokio runtime, which then runs its controllers.
    ///
    /// # Errors
    /// When the certificates cannot be made.
    pub fn new(config: Config) -> Result<Self, PkiError> {
        let core = Core::new(config)?;
        controllers::bootstrap(&core);
        expiry::start(&core);
        if core.config.controllers {
            controllers::start(&core);
        }
        Ok(Self { core })
    }

    /// Serves the API over TLS on a listener. May be called for several; the socket may have been made
    /// in another network namespace.
    ///
    /// # Errors
    /// When the listener cannot be made non-blocking.
    pub fn serve(&self, listener: std::net::TcpListener) -> std::io::Result<()> {
        server::serve(&self.core, listener)
    }

    /// A kubeconfig (YAML) for `server_url`. The user `admin` may do everything; `system:node:NAME` may do what
    /// a kubelet may; `system:serviceaccount:NS:NAME` what its roles allow; any other name what its
    /// bindings allow.
    pub fn kubeconfig(&self, server_url: &str, user: &str) -> String {
        self.core.kubeconfig(server_url, user)
    }

    /// PEM of the certificate authority.
    pub fn ca_pem(&self) -> &str {
        &self.core.authority.ca_pem
    }

    /// A bearer token for a service account, as mounted into its pods.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> String {
        self.core.auth.service_account(namespace, name)
    }

    /// Who answers `kubectl logs`, `exec` and `attach`.
    pub fn set_streams(&self, streams: Arc<dyn PodStreams>) {
        self.core.set_streams(streams);
    }

    /// Forgets the history of changes: watches that resume from before get 410 Gone.
    pub fn compact(&self) {
        self.core.store.compact();
    }

    /// Ends every open watch, as a restart of the server would.
    pub fn drop_watches(&self) {
        self.core.store.drop_watches();
    }

    /// Changes how many changes each resource remembers.
    pub fn set_window(&self, changes: usize) {
        self.core.store.set_window(changes);
    }

    /// While `true`, every request is answered 503 and open watches end: the API server is away.
    pub fn set_away(&self, away: bool) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.core.away.swap(away, Relaxed) && !away {
            self.core.back_at.store(jiff::Timestamp::now().as_second(), Relaxed);
        }
        if away {
            self.core.store.drop_watches();
        }
    }

    /// The version of the last change.
    pub fn resource_version(&self) -> u64 {
        self.core.store.version()
    }

    /// Stops the listeners, the watches and the controllers.
    pub fn shutdown(&self) {
        self.core.stop.cancel();
    }
}
