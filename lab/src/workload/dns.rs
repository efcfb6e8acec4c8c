//! Cluster DNS, as CoreDNS serves it: Services and pods of the cluster domain from the Kubernetes API, everything else
//! asked of the resolvers the node has.
//!
//! It runs in a pod like any other workload and reaches the API as any in-cluster client does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub mod cluster;
mod corefile;
pub mod server;
pub mod zone;

use super::{flag, http, leaving};
use corefile::Corefile;
use server::Server;

/// Where CoreDNS tells the kubelet that it lives, and that it knows the cluster.
const HEALTH_PORT: u16 = 8080;
const READY_PORT: u16 = 8181;

pub(super) async fn run(args: &[String]) -> anyhow::Result<()> {
    let path = flag(args, "conf").unwrap_or("Corefile");
    let text = std::fs::read_to_string(path).with_context(|| format!("configuration {path}"))?;
    let config = Corefile::parse(&text);
    let forward = resolvers(&config.forward)?;
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.port));
    println!(".:{}\nCoreDNS stand-in of the lab: {} and {forward:?}", config.port, config.domain);

    let (records, current) = watch::channel(Arc::new(zone::Zone::empty(&config.domain)));
    let (ready, is_ready) = watch::channel(false);
    let stop = CancellationToken::new();
    let client = kube::Client::try_default().await.context("client of the cluster")?;
    tokio::spawn(cluster::follow(client, config.domain.clone(), records, ready));
    for (port, ready) in [(HEALTH_PORT, None), (READY_PORT, Some(is_ready))] {
        let listener =
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.with_context(|| port.to_string())?;
        tokio::spawn(http::serve(listener, stop.clone(), move |_| {
            let well = ready.as_ref().is_none_or(|ready| *ready.borrow());
            async move { if well { http::text("OK") } else { http::status(503, "kubernetes") } }
        }));
    }
    let server = Server { zone: current, forward };
    let udp = UdpSocket::bind(listen).await.with_context(|| format!("UDP {listen}"))?;
    let tcp = TcpListener::bind(listen).await.with_context(|| format!("TCP {listen}"))?;
    tokio::select! {
        outcome = leaving() => outcome?,
        () = server.run(udp, tcp) => {}
    }
    stop.cancel();
    Ok(())
}

/// The addresses to forward to; a path is a `resolv.conf`.
fn resolvers(forward: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for word in forward {
        if Path::new(word).is_absolute() {
            let text = std::fs::read_to_string(word).with_context(|| format!("resolvers in {word}"))?;
            let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver "));
            found.extend(
                servers.filter_map(|server| server.trim().parse().ok()).map(|ip| SocketAddr::new(ip, 53)),
            );
        } else if let Ok(address) = word.parse() {
            found.push(address);
        } else {
            let ip = word.parse().with_context(|| format!("forward: `{word}` is not an address"))?;
            found.push(SocketAddr::new(ip, 53));
        }
    }
    Ok(found)
}
