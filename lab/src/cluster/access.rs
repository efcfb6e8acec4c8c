//! The way to the API server: the embedded one, or another one behind a kubeconfig.
//!
//! Nodes and pods reach it at the control-plane node's address in both cases; for another server a relay of plain TCP
//! stands there, and TLS still ends at that server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use pleopod_lab_control::{Config as ControlConfig, Control};
use tower::limit::ConcurrencyLimitLayer;

use super::system::AGENT_USER;
use super::{API_PORT, Lab, loopback_listener, url, write_private};
use crate::inside::Inside;
use crate::layout::NETNS_DIR;
use crate::streams::Streams;
use crate::wire;

/// Requests under way at the same time: each holds a connection, and connections are kept.
const AT_ONCE: usize = 32;

/// An open way to the API server.
pub struct Access {
    /// A client with all rights.
    pub client: Client,
    /// Where the machine itself reaches it.
    pub url: String,
    /// What an agent reaches it with.
    pub node_kubeconfig: String,
    /// Whether pods can reach it at the `kubernetes` Service.
    pub for_pods: bool,
}

/// Starts the embedded server, or opens the relay to the other one.
///
/// # Errors
/// When ports can't be had or the other server doesn't answer.
pub async fn open(lab: &Arc<Lab>, gate: &Arc<Inside>) -> anyhow::Result<Access> {
    match &lab.plan.kubeconfig {
        None => embedded(lab, gate).await,
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("kubeconfig {}", path.display()))?;
            other(lab, gate, &text).await.with_context(|| format!("API server of {}", path.display()))
        }
    }
}

async fn embedded(lab: &Lab, gate: &Inside) -> anyhow::Result<Access> {
    let topology = &lab.plan.topology;
    let address = topology.control_plane().address;
    let (local, at) = loopback_listener().context("a port for the API server")?;
    let on_node = listen_inside(gate, SocketAddr::new(address, API_PORT)).await?;
    let control = Control::new(ControlConfig {
        cluster: format!("pleopod-lab-{}", lab.layout.lab),
        domain: topology.cluster_domain.clone(),
        cluster_cidr: topology.cluster_cidr.to_string(),
        service_cidr: topology.service_cidr.to_string(),
        dns_ip: topology.cluster_dns,
        endpoint: Some((address, API_PORT)),
        addresses: vec![at.ip(), address, topology.kubernetes_service()],
        ..ControlConfig::default()
    })?;
    control.set_streams(Arc::new(Streams::new(lab.layout.index())));
    control.serve(local)?;
    control.serve(on_node)?;
    let server = format!("https://{at}");
    let admin = control.kubeconfig(&server, "admin");
    write_private(&lab.layout.kubeconfig(), &admin).context("writing the kubeconfig")?;
    let _ = lab.control.set(control.clone());
    let stop = lab.stop.clone();
    let node_kubeconfig = control.kubeconfig(&url(address, API_PORT), AGENT_USER);
    tokio::spawn(async move {
        stop.cancelled().await;
        control.shutdown();
    });
    Ok(Access { client: client(&admin).await?, url: server, node_kubeconfig, for_pods: true })
}

async fn other(lab: &Lab, gate: &Arc<Inside>, text: &str) -> anyhow::Result<Access> {
    let client = client(text).await?;
    client.apiserver_version().await.context("it does not answer")?;
    write_private(&lab.layout.kubeconfig(), text).context("writing the kubeconfig")?;
    let mut config = Kubeconfig::from_yaml(text)?;
    let current = config.current_context.clone().unwrap_or_default();
    let named = config.contexts.iter().find(|context| context.name == current);
    let cluster = named.and_then(|context| context.context.as_ref()).map(|context| context.cluster.clone());
    let Some(cluster) = config.clusters.iter_mut().find(|one| Some(&one.name) == cluster.as_ref()) else {
        bail!("its current context names no cluster");
    };
    let cluster = cluster.cluster.as_mut().context("its cluster is empty")?;
    let server = cluster.server.clone().context("its cluster has no server")?;
    let target: hyper::Uri = server.parse().context("its server is no URL")?;
    let host = target.host().context("its server has no host")?.trim_matches(['[', ']']).to_owned();
    let port = target.port_u16().unwrap_or(443);
    let address = lab.plan.topology.control_plane().address;
    cluster.server = Some(url(address, API_PORT));
    cluster.tls_server_name.get_or_insert_with(|| host.clone());
    let node_kubeconfig = serde_saphyr::to_string(&config).context("writing the nodes' kubeconfig")?;
    let listener = listen_inside(gate, SocketAddr::new(address, API_PORT)).await?;
    start_relay(listener, host, port, lab)?;
    let for_pods = show_to_pods(lab, &client).await.context("showing it to pods")?;
    Ok(Access { client, url: server, node_kubeconfig, for_pods })
}

/// Makes the endpoints of the `kubernetes` Service answer inside the lab: the outside host takes their addresses and
/// relays. Gives `false` when pods have no way, because an endpoint is a loopback address or there is no gateway.
async fn show_to_pods(lab: &Lab, client: &Client) -> anyhow::Result<bool> {
    let Some(gateway) = lab.plan.topology.gateway() else { return Ok(false) };
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "default");
    let named = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let endpoints: BTreeSet<SocketAddr> = slices
        .list(&named)
        .await?
        .items
        .iter()
        .flat_map(|slice| {
            let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
            let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            let addresses: Vec<IpAddr> = addresses.filter_map(|address| address.parse().ok()).collect();
            ports.flat_map(move |port| addresses.clone().into_iter().map(move |ip| SocketAddr::new(ip, port)))
        })
        .collect();
    if endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.ip().is_loopback()) {
        return Ok(false);
    }
    let netns = Path::new(NETNS_DIR).join(lab.layout.netns(&gateway.name));
    for endpoint in endpoints {
        let netns = netns.clone();
        let bound = tokio::task::spawn_blocking(move || -> anyhow::Result<TcpListener> {
            let netns = pleopod_sys_netns::Netns::open(&netns)?;
            wire::add_address(&netns, endpoint.ip())?;
            Ok(netns.run(|| TcpListener::bind(endpoint))??)
        });
        start_relay(bound.await??, endpoint.ip().to_string(), endpoint.port(), lab)?;
    }
    Ok(true)
}

fn start_relay(listener: TcpListener, host: String, port: u16, lab: &Lab) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::spawn(relay(tokio::net::TcpListener::from_std(listener)?, host, port, lab.stop.clone()));
    Ok(())
}

/// Copies every connection to the server, unread.
async fn relay(
    listener: tokio::net::TcpListener,
    host: String,
    port: u16,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((mut from, _)) = accepted else { continue };
        let host = host.clone();
        tokio::spawn(async move {
            if let Ok(mut to) = tokio::net::TcpStream::connect((host.as_str(), port)).await {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

/// A listener whose socket belongs to the control-plane node's namespace.
async fn listen_inside(gate: &Inside, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = gate.run(async move { TcpListener::bind(address) }).await;
    bound
        .context("the control-plane node is gone")?
        .with_context(|| format!("API server's address {address}"))
}

/// A client from the text of a kubeconfig.
///
/// # Errors
/// When it is no kubeconfig.
pub async fn client(text: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(text)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(ClientBuilder::try_from(config)?.with_layer(&ConcurrencyLimitLayer::new(AT_ONCE)).build())
}
