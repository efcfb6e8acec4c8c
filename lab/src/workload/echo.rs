//! Sends back every byte it gets over TCP, and every datagram over UDP. Each TCP connection and datagram is logged with
//! its peer, so that a test can see who really asked.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

use super::{leaving, port};

pub(super) async fn run(args: &[String]) -> anyhow::Result<()> {
    let port = port(args, "port", "ECHO_PORT", 7)?;
    let tcp = TcpListener::bind(("0.0.0.0", port)).await?;
    let udp = UdpSocket::bind(("0.0.0.0", port)).await?;
    println!("echo on TCP and UDP port {port}");
    tokio::select! {
        outcome = leaving() => outcome,
        outcome = tcp_loop(tcp) => outcome,
        outcome = udp_loop(udp) => outcome,
    }
}

async fn tcp_loop(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (mut stream, peer) = listener.accept().await?;
        println!("tcp {peer}");
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
    }
}

async fn udp_loop(socket: UdpSocket) -> anyhow::Result<()> {
    let mut datagram = vec![0; 65_535];
    loop {
        // An ICMP error of an earlier answer arrives here as a failed receive; it concerns nobody else.
        let Ok((length, peer)) = socket.recv_from(&mut datagram).await else { continue };
        println!("udp {peer} {length} bytes");
        let _ = socket.send_to(&datagram[..length], peer).await;
    }
}
