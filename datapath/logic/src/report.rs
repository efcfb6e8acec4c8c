//! Which packets are worth a flow event: the first of each direction, those with TCP flags not seen before in that direction,
//! the one that completes the close, and otherwise one per interval.

use crate::wire::tcp;
use pleopod_abi::{
    ct::{CtState, CtValue},
    proto,
    time::ticks_since,
};

/// Marks in `CtValue::seen` for what are no TCP flags. The real ones fill the lower six bits.
const ANY: u8 = 0x40;
const LAST: u8 = 0x80;
const FLAGS: u8 = 0x3f;

/// What to tell about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Packets that the event stands for.
    pub packets: u32,
}

/// Notes a packet in its connection's entry and says whether it is due for an event. `interval` 0 reports every packet.
#[inline(always)]
pub fn note(
    entry: &mut CtValue,
    way: usize,
    protocol: u8,
    tcp_flags: u8,
    tick: u32,
    interval: u32,
) -> Option<Report> {
    let way = way & 1;
    let mut marks = ANY;
    if protocol == proto::TCP {
        marks |= tcp_flags & FLAGS;
        if entry.state == CtState::Closed as u8 && tcp_flags & (tcp::FIN | tcp::RST | tcp::SYN) == 0 {
            marks |= LAST;
        }
    }
    let seen = entry.seen[way];
    let fresh = marks & !seen != 0;
    if !fresh && interval != 0 && ticks_since(tick, entry.last_report[way]) < interval {
        entry.unreported[way] = entry.unreported[way].saturating_add(1);
        return None;
    }
    let packets = u32::from(entry.unreported[way]) + 1;
    entry.unreported[way] = 0;
    entry.last_report[way] = tick;
    if fresh {
        entry.seen[way] = seen | marks;
    }
    Some(Report { packets })
}
