//! Sockets of a namespace: find those connected to an address and end them.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagDestroy, SockDiagMessage,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::Result;
use crate::request::Channel;

/// A sock_diag handle of one network namespace.
pub struct SockDiag(Channel);

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

// === impl SockDiag ===

impl SockDiag {
    /// Opens a handle in the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        Ok(Self(Channel::open(NETLINK_SOCK_DIAG)?))
    }

    /// Ends every socket connected to one of `peers`. See [`Self::destroy_where`].
    pub fn destroy_connected(&mut self, transport: Transport, peers: &[SocketAddr]) -> Result<usize> {
        let wanted = |peer: SocketAddr, _| {
            peers.iter().any(|p| p.port() == peer.port() && p.ip().to_canonical() == peer.ip())
        };
        if peers.is_empty() { Ok(0) } else { self.destroy_where(transport, wanted) }
    }

    /// Ends every connected socket that `wanted` says yes to, by its peer (v4-mapped addresses as IPv4) and its cookie
    /// (`SO_COOKIE`, what `bpf_get_socket_cookie()` gives). The owner gets `ECONNABORTED` at its next call and, for TCP,
    /// the peer gets a RST (`SOCK_DESTROY`, kernel commit c1e64e298b8c). Sockets in TIME_WAIT are left alone. Gives how
    /// many were ended.
    pub fn destroy_where(
        &mut self,
        transport: Transport,
        mut wanted: impl FnMut(SocketAddr, u64) -> bool,
    ) -> Result<usize> {
        let mut ended = 0;
        for family in [AF_INET, AF_INET6] {
            for socket in self.connected(family, transport)? {
                let id = socket.header.socket_id;
                let peer = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
                if wanted(peer, u64::from_ne_bytes(id.cookie)) {
                    ended += usize::from(self.destroy(family, transport, id)?);
                }
            }
        }
        Ok(ended)
    }

    fn connected(&mut self, family: u8, transport: Transport) -> Result<Vec<InetResponse>> {
        let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = request(family, transport, any);
        let answers: Vec<SockDiagMessage> = self.0.dump("list sockets", request)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                SockDiagMessage::InetResponse(response) => Some(*response),
                _ => None,
            })
            .filter(|response| response.header.socket_id.destination_port != 0)
            .collect())
    }

    /// `false` when the socket ended by itself first.
    fn destroy(&mut self, family: u8, transport: Transport, id: SocketId) -> Result<bool> {
        let peer: IpAddr = id.destination_address;
        let what = format!("end socket to {peer} port {}", id.destination_port);
        let request = SockDiagDestroy::new(request(family, transport, id));
        match self.0.exchange(&what, request, NLM_F_ACK, |_: SockDiagMessage| ()) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|()| true),
        }
    }
}

impl std::fmt::Debug for SockDiag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SockDiag")
    }
}

fn request(family: u8, transport: Transport, socket_id: SocketId) -> SockDiagMessage {
    let protocol = match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
    };
    let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT;
    SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    })
}
