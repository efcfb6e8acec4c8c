//! One request, one answer: the socket below every operation.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::{Error, Result};

/// An rtnetlink handle of one network namespace.
///
/// Opened in the namespace of the calling thread and bound to it for good.
pub struct Netlink(pub(crate) Channel);

/// A netlink socket with the numbering of its requests.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Larger than any one datagram the kernel builds for a dump (it caps them at 32 KiB).
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A dump that keeps being interrupted by changes is taken as it is after this many tries.
const DUMP_TRIES: usize = 8;

// === impl Netlink ===

impl Netlink {
    /// Opens a handle in the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        Ok(Self(Channel::open(NETLINK_ROUTE)?))
    }

    /// Sends a change and waits for its acknowledgement.
    pub(crate) fn change(&mut self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.0.exchange(what, message, flags | NLM_F_ACK, |_: RouteNetlinkMessage| ())
    }

    /// Asks for one object.
    pub(crate) fn get(
        &mut self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>> {
        let mut answer = None;
        match self.0.exchange(what, message, NLM_F_ACK, |m| answer = Some(m)) {
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(answer),
        }
    }

    /// Asks for all objects of a kind.
    pub(crate) fn dump(
        &mut self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.0.dump(what, message)
    }
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Netlink")
    }
}

// === impl Channel ===

impl Channel {
    pub(crate) fn open(protocol: isize) -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Both only improve messages and filtering; a kernel without them still answers.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Open { source })?;
        Ok(Self { socket, sequence: 0, buffer: Vec::new() })
    }

    /// Every answer of a dump. Begins again when the table changed under it (`NLM_F_DUMP_INTR`).
    pub(crate) fn dump<Q, A>(&mut self, what: &str, message: Q) -> Result<Vec<A>>
    where
        Q: NetlinkSerializable + Clone + Into<NetlinkPayload<Q>>,
        A: NetlinkDeserializable,
    {
        let mut answers = Vec::new();
        for _ in 0..DUMP_TRIES {
            answers.clear();
            match self.exchange(what, message.clone(), NLM_F_DUMP, |m| answers.push(m)) {
                Err(Error::Socket { source, .. }) if source.kind() == io::ErrorKind::Interrupted => continue,
                other => return other.map(|()| answers),
            }
        }
        Ok(answers)
    }

    /// Sends `message` and hands every answer to `each` until the acknowledgement or the end of the dump.
    pub(crate) fn exchange<Q, A>(
        &mut self,
        what: &str,
        message: Q,
        flags: u16,
        mut each: impl FnMut(A),
    ) -> Result<()>
    where
        Q: NetlinkSerializable + Into<NetlinkPayload<Q>>,
        A: NetlinkDeserializable,
    {
        let sequence = self.send(what, message, flags)?;
        let failed = |source| Error::Socket { what: what.into(), source };
        let bad = |detail: String| Error::Answer { what: what.into(), detail };
        let mut interrupted = false;
        loop {
            let mut datagram = std::mem::take(&mut self.buffer);
            datagram.clear();
            datagram.reserve(RECEIVE_BUFFER);
            let received = retry(|| self.socket.recv(&mut datagram, 0));
            self.buffer = datagram;
            received.map_err(failed)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<A>::deserialize(rest).map_err(|e| bad(e.to_string()))?;
                let length = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                if answer.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(done) if done.code != 0 => {
                        return Err(refused(what, done.code, String::new()));
                    }
                    NetlinkPayload::Done(_) if interrupted => {
                        return Err(failed(io::ErrorKind::Interrupted.into()));
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(()),
                            Some(code) => Err(refused(what, code.get(), explanation(&error.header))),
                        };
                    }
                    NetlinkPayload::Overrun(_) => return Err(bad("the socket overran".into())),
                    _ => {}
                }
            }
        }
    }

    fn send<Q>(&mut self, what: &str, message: Q, flags: u16) -> Result<u32>
    where
        Q: NetlinkSerializable + Into<NetlinkPayload<Q>>,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, message.into());
        packet.finalize();
        self.buffer.clear();
        self.buffer.resize(packet.buffer_len(), 0);
        packet.serialize(&mut self.buffer);
        retry(|| self.socket.send(&self.buffer, 0))
            .map_err(|source| Error::Socket { what: what.into(), source })?;
        Ok(self.sequence)
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn refused(what: &str, code: i32, explanation: String) -> Error {
    let source = io::Error::from_raw_os_error(code.wrapping_abs());
    Error::Refused { what: what.into(), source, explanation }
}

/// The text of an extended acknowledgement (`NLMSGERR_ATTR_MSG`).
///
/// ```text
/// | nlmsghdr of the request, 16 bytes | len u16 | type u16 | bytes, padded to 4 | ...
/// ```
fn explanation(payload: &[u8]) -> String {
    const REQUEST_HEADER: usize = 16;
    const MESSAGE: u16 = 1;
    const TYPE_MASK: u16 = 0x3fff;
    let mut rest = payload.get(REQUEST_HEADER..).unwrap_or_default();
    while let [l0, l1, t0, t1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = rest.get(4..length) else { break };
        if u16::from_ne_bytes([t0, t1]) & TYPE_MASK == MESSAGE {
            return String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    String::new()
}
