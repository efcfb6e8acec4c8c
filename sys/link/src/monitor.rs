//! Changes as they happen.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::{Address, Error, Link, Result};

/// Multicast groups of include/uapi/linux/rtnetlink.h.
const GROUP_LINK: u32 = 1;
const GROUP_IPV4_ADDRESS: u32 = 5;
const GROUP_IPV6_ADDRESS: u32 = 9;

/// A subscription to changes of links and addresses of one namespace.
///
/// Non-blocking: wait for its descriptor to become readable, then call [`Monitor::read`] until it gives nothing.
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link is new or has changed.
    Link(Link),
    /// A link is gone.
    LinkGone(Link),
    /// A link has a new address.
    Address(Address),
    /// A link has lost an address.
    AddressGone(Address),
    /// More happened than the socket could hold: list again.
    Lost,
}

// === impl Monitor ===

impl Monitor {
    /// Subscribes in the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in [GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS] {
                socket.add_membership(group)?;
            }
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Open { source })?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// The changes of one datagram; empty when nothing is waiting.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        self.buffer.clear();
        self.buffer.reserve(64 * 1024);
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(Vec::new());
            }
            // ENOBUFS: the kernel dropped notifications.
            Err(e) if e.raw_os_error() == Some(105) => return Ok(vec![Event::Lost]),
            Err(source) => return Err(Error::Socket { what: "read link changes".into(), source }),
        }
        let mut events = Vec::new();
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|e| Error::Answer { what: "read link changes".into(), detail: e.to_string() })?;
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
            let NetlinkPayload::InnerMessage(inner) = message.payload else { continue };
            match inner {
                RouteNetlinkMessage::NewLink(m) => events.push(Event::Link(Link::from_message(&m))),
                RouteNetlinkMessage::DelLink(m) => events.push(Event::LinkGone(Link::from_message(&m))),
                RouteNetlinkMessage::NewAddress(m) => {
                    events.extend(Address::from_message(&m).map(Event::Address))
                }
                RouteNetlinkMessage::DelAddress(m) => {
                    events.extend(Address::from_message(&m).map(Event::AddressGone));
                }
                _ => {}
            }
        }
        Ok(events)
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}
