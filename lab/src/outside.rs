//! A host outside the cluster: a web server that says who asked, and a DNS server that knows the topology's names.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::topology::Topology;
use crate::workload::dns::server::Server;
use crate::workload::dns::zone::Zone;
use crate::workload::{http, stopped};

/// Serves as the outside host `name` of `topology` until told to stop.
///
/// # Errors
/// When there is no such host, or a port is taken.
pub async fn run(topology: &Topology, name: &str) -> anyhow::Result<()> {
    let host = topology.outside.iter().find(|host| host.name == name).context("no such outside host")?;
    let any = |port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let (_keep, zone) = watch::channel(Arc::new(Zone::of_names(&host.names)));
    let dns = Server { zone, forward: Vec::new() };
    // One socket an address, so that an answer leaves from the address that was asked.
    for address in std::iter::once(host.address).chain(host.addresses.iter().copied()) {
        let udp = UdpSocket::bind((address, 53)).await.with_context(|| format!("UDP {address}:53"))?;
        let tcp = TcpListener::bind((address, 53)).await.with_context(|| format!("TCP {address}:53"))?;
        tokio::spawn(dns.clone().run(udp, tcp));
    }
    let stop = CancellationToken::new();
    let web = TcpListener::bind(any(80)).await.context("TCP port 80")?;
    let own = name.to_owned();
    let served = tokio::spawn(http::serve(web, stop.clone(), move |request| {
        let own = own.clone();
        async move {
            let client = request.peer.ip().to_canonical();
            let asked = request.header("host").unwrap_or("-").to_owned();
            println!("{client} \"{}\" {asked}", request.line());
            http::text(format!("{own} answers\nClient: {client}\nHost: {asked}\n"))
        }
    }));
    stopped().await?;
    stop.cancel();
    served.await?;
    Ok(())
}
