//! Bytes of `pleo_events` to records.
//!
//! Strict: a record of another version, length or with a number that has no meaning is refused and counted, never
//! guessed at. Any bytes at all may be given.

use pleopod_abi::ct::CtVerdict;
use pleopod_abi::event::{EVENT_VERSION, EventHeader, FlowEvent, SockEvent, flow_flags, kind};
use pleopod_abi::metrics::Direction;
use pleopod_abi::reason::{DropReason, ForwardReason, ObservationPoint, Verdict, XlatePoint};
use zerocopy::FromBytes;

#[cfg(test)]
mod tests;

/// One record of the kernel's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A packet.
    Flow(Packet),
    /// A socket call.
    Sock(Call),
}

/// A [`FlowEvent`] whose numbers all have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The record as it came.
    pub raw: FlowEvent,
    /// Where it was seen.
    pub point: ObservationPoint,
    /// Where it went, or why it did not.
    pub outcome: Outcome,
    /// What conntrack said.
    pub ct: CtVerdict,
    /// Which way it went, seen from the endpoint.
    pub direction: Direction,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed on.
    Forwarded(ForwardReason),
    /// Dropped.
    Dropped(DropReason),
}

/// A [`SockEvent`] whose numbers all have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The record as it came.
    pub raw: SockEvent,
    /// Where in the translation.
    pub point: XlatePoint,
    /// Whether the address was exchanged.
    pub translated: bool,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than a header.
    #[error("{0} bytes are shorter than an event's header")]
    Short(usize),
    /// Made by programs of another version.
    #[error(
        "event version {0}, expected {EVENT_VERSION}: the programs and the agent are of different versions"
    )]
    Version(u8),
    /// A kind that is not known.
    #[error("event kind {0} is not known")]
    Kind(u8),
    /// As long as no record of its kind.
    #[error("event kind {kind} of {got} bytes, expected {expected}")]
    Length {
        /// The kind.
        kind: u8,
        /// Bytes that came.
        got: usize,
        /// Bytes it should have.
        expected: usize,
    },
    /// A number without a meaning.
    #[error("{field} {value} has no meaning")]
    Value {
        /// Field of the record.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
}

/// Reads one record.
pub fn decode(bytes: &[u8]) -> Result<Record, Error> {
    let (header, _) = EventHeader::read_from_prefix(bytes).map_err(|_| Error::Short(bytes.len()))?;
    if header.version != EVENT_VERSION {
        return Err(Error::Version(header.version));
    }
    match header.kind {
        kind::FLOW => packet(whole(bytes, &header)?).map(Record::Flow),
        kind::SOCK => call(whole(bytes, &header)?).map(Record::Sock),
        other => Err(Error::Kind(other)),
    }
}

fn whole<T: FromBytes>(bytes: &[u8], header: &EventHeader) -> Result<T, Error> {
    let expected = size_of::<T>();
    let wrong = Error::Length { kind: header.kind, got: bytes.len(), expected };
    if usize::from(header.len) != expected {
        return Err(wrong);
    }
    T::read_from_bytes(bytes).map_err(|_| wrong)
}

fn packet(raw: FlowEvent) -> Result<Packet, Error> {
    let value = |field, value| Error::Value { field, value };
    let outcome = match Verdict::from_u8(raw.verdict) {
        Some(Verdict::Forwarded) => {
            Outcome::Forwarded(ForwardReason::from_u8(raw.reason).ok_or(value("forward reason", raw.reason))?)
        }
        Some(Verdict::Dropped) => {
            Outcome::Dropped(DropReason::from_u8(raw.reason).ok_or(value("drop reason", raw.reason))?)
        }
        _ => return Err(value("verdict of a packet", raw.verdict)),
    };
    Ok(Packet {
        point: ObservationPoint::from_u8(raw.point).ok_or(value("observation point", raw.point))?,
        outcome,
        ct: CtVerdict::from_u8(raw.ct).ok_or(value("conntrack verdict", raw.ct))?,
        direction: Direction::from_u8(raw.direction).ok_or(value("direction", raw.direction))?,
        raw,
    })
}

fn call(raw: SockEvent) -> Result<Call, Error> {
    let value = |field, value| Error::Value { field, value };
    let translated = match Verdict::from_u8(raw.verdict) {
        Some(Verdict::Traced) => false,
        Some(Verdict::Translated) => true,
        _ => return Err(value("verdict of a socket call", raw.verdict)),
    };
    let point = XlatePoint::from_u8(raw.point).ok_or(value("translation point", raw.point))?;
    Ok(Call { raw, point, translated })
}

// === impl Packet ===

impl Packet {
    /// Whether it goes in the direction of the replies; `None` when that is not known.
    pub fn is_reply(&self) -> Option<bool> {
        self.has(flow_flags::REPLY_KNOWN).then(|| self.has(flow_flags::REPLY))
    }

    /// Whether a bit of [`flow_flags`] is set.
    pub fn has(&self, flag: u16) -> bool {
        self.raw.flags & flag != 0
    }
}
