//! What every part of the control plane shares.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::admission::alloc::Allocations;
use crate::auth::Auth;
use crate::pki::{Authority, PkiError};
use crate::resource::{Registry, Resource};
use crate::store::Store;
use crate::streams::PodStreams;

/// The state of one control plane.
pub struct Core {
    pub config: Config,
    pub store: Store,
    pub auth: Auth,
    pub authority: Authority,
    pub stop: CancellationToken,
    pub away: AtomicBool,
    /// When it came back the last time, in seconds since the epoch; 0 for never.
    pub back_at: AtomicI64,
    pub alloc: Mutex<Allocations>,
    registry: RwLock<Arc<Registry>>,
    streams: RwLock<Option<Arc<dyn PodStreams>>>,
}

// === impl Core ===

impl Core {
    pub fn new(config: Config) -> Result<Arc<Self>, PkiError> {
        let mut addresses = config.addresses.clone();
        addresses.extend(config.endpoint.map(|(ip, _)| ip));
        let alloc = Allocations::new(&config);
        addresses.extend(alloc.first_service_ip());
        let authority = Authority::new(&config.cluster, &config.domain, &addresses)?;
        Ok(Arc::new(Self {
            store: Store::new(config.window),
            auth: Auth::new(),
            authority,
            stop: CancellationToken::new(),
            away: AtomicBool::new(false),
            back_at: AtomicI64::new(0),
            alloc: Mutex::new(alloc),
            registry: RwLock::new(Arc::new(Registry::built_in())),
            streams: RwLock::new(None),
            config,
        }))
    }

    /// The resources served now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves the built-in resources and these.
    pub fn set_custom(&self, custom: Vec<Resource>) {
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Registry::with(custom));
    }

    /// A built-in resource by group and plural.
    pub fn resource(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.registry().get(group, plural)
    }

    pub fn allocations(&self) -> std::sync::MutexGuard<'_, Allocations> {
        self.alloc.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_streams(&self, s: Arc<dyn PodStreams>) {
        *self.streams.write().unwrap_or_else(PoisonError::into_inner) = Some(s);
    }

    pub fn streams(&self) -> Option<Arc<dyn PodStreams>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where pods reach the API server.
    pub fn endpoint(&self) -> (IpAddr, u16) {
        self.config.endpoint.unwrap_or((IpAddr::from([127, 0, 0, 1]), 6443))
    }

    pub fn kubeconfig(&self, server: &str, user: &str) -> String {
        use base64::Engine as _;
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.authority.ca_pem);
        let token = self.auth.token_for(user);
        let cluster = &self.config.cluster;
        let q = |s: &str| Value::from(s).to_string();
        let context = if user == "admin" { cluster.clone() } else { format!("{user}@{cluster}") };
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {c}\n  cluster:\n    server: {s}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: {u}\n  user:\n    token: {t}\ncontexts:\n- name: {x}\n  \
             context:\n    cluster: {c}\n    user: {u}\n    namespace: default\ncurrent-context: {x}\npreferences: {{}}\n",
            c = q(cluster),
            s = q(server),
            u = q(user),
            t = q(&token),
            x = q(&context),
        )
    }
}
