//! Lives of connections, packet by packet.

use pleopod_abi::{
    config::CtTimeouts,
    ct::{CtState, CtValue, CtVerdict, ct_flags},
    proto,
};
use pleopod_datapath_logic::{
    conntrack::{Seen, open, step},
    report::note,
    wire::tcp::{ACK, FIN, PSH, RST, SYN},
};
use proptest::prelude::*;

const OUT: bool = true;
const BACK: bool = false;
const T: CtTimeouts = CtTimeouts::STANDARD;

/// A connection whose opener is side A, and the clock.
struct Life {
    entry: CtValue,
    beat: u32,
    proto: u8,
}

impl Life {
    fn open(proto: u8, flags: u8) -> Self {
        let beat = 1000;
        let seen = Seen { proto, tcp_flags: flags, source_is_a: true, beat };
        Self { entry: open(&seen, 42, &T), beat, proto }
    }

    fn packet(&mut self, out: bool, flags: u8) -> CtVerdict {
        let seen = Seen { proto: self.proto, tcp_flags: flags, source_is_a: out, beat: self.beat };
        step(&mut self.entry, &seen, 43, &T).verdict
    }

    fn state(&self) -> CtState {
        CtState::from_u8(self.entry.state).unwrap()
    }

    fn left(&self) -> u32 {
        self.entry.expires - self.beat
    }
}

#[test]
fn a_tcp_connection_opens_talks_and_closes() {
    let mut c = Life::open(proto::TCP, SYN);
    assert_eq!((c.state(), c.left(), c.entry.src_identity), (CtState::SynSent, T.tcp_syn, 42));
    assert_eq!(c.packet(BACK, SYN | ACK), CtVerdict::Reply);
    assert_eq!(c.state(), CtState::SynReceived);
    assert_eq!(c.packet(OUT, ACK), CtVerdict::Established);
    assert_eq!((c.state(), c.left()), (CtState::Established, T.tcp_established));
    c.packet(OUT, PSH | ACK);
    c.packet(BACK, PSH | ACK);
    c.packet(OUT, FIN | ACK);
    assert_eq!((c.state(), c.left()), (CtState::Closing, T.tcp_established));
    // Half closed: the other side may go on for long.
    c.packet(BACK, PSH | ACK);
    assert_eq!(c.state(), CtState::Closing);
    c.packet(BACK, FIN | ACK);
    assert_eq!((c.state(), c.left()), (CtState::Closed, T.tcp_close));
    assert_eq!(c.packet(OUT, ACK), CtVerdict::Established);
    assert_eq!(c.state(), CtState::Closed);
}

#[test]
fn a_refused_connection_is_closed_at_once() {
    let mut c = Life::open(proto::TCP, SYN);
    assert_eq!(c.packet(BACK, RST | ACK), CtVerdict::Reply);
    assert_eq!((c.state(), c.left()), (CtState::Closed, T.tcp_close));
}

#[test]
fn a_reset_closes_from_every_state() {
    for before in [SYN, ACK, FIN | ACK] {
        for out in [OUT, BACK] {
            let mut c = Life::open(proto::TCP, before);
            c.packet(out, RST);
            assert_eq!(c.state(), CtState::Closed);
        }
    }
}

#[test]
fn ports_used_again_make_a_new_connection() {
    for from in [OUT, BACK] {
        let mut c = Life::open(proto::TCP, SYN);
        c.packet(BACK, SYN | ACK);
        c.packet(OUT, ACK);
        c.packet(OUT, FIN | ACK);
        assert_eq!(c.packet(from, SYN), CtVerdict::New);
        assert_eq!((c.state(), c.entry.src_identity), (CtState::SynSent, 43));
        // Whoever sent the SYN is the opener now.
        assert_eq!(c.entry.flags & ct_flags::OPENED_BY_A != 0, from);
        assert_eq!(c.packet(!from, SYN | ACK), CtVerdict::Reply);
    }
}

#[test]
fn a_syn_on_an_open_connection_changes_nothing() {
    let mut c = Life::open(proto::TCP, SYN);
    c.packet(BACK, SYN | ACK);
    c.packet(OUT, ACK);
    assert_eq!(c.packet(OUT, SYN), CtVerdict::Established);
    assert_eq!(c.state(), CtState::Established);
}

#[test]
fn a_connection_is_picked_up_in_the_middle() {
    let mut c = Life::open(proto::TCP, PSH | ACK);
    assert_eq!(c.state(), CtState::Established);
    assert_ne!(c.entry.flags & ct_flags::PICKED_UP, 0);
    assert_eq!(c.packet(BACK, ACK), CtVerdict::Reply);
    assert_eq!(c.left(), T.tcp_established);
}

#[test]
fn a_silent_connection_is_forgotten() {
    let mut c = Life::open(proto::UDP, 0);
    assert_eq!((c.state(), c.left()), (CtState::Unreplied, T.unreplied));
    assert_eq!(c.packet(BACK, 0), CtVerdict::Reply);
    assert_eq!((c.state(), c.left()), (CtState::Replied, T.replied));
    c.beat += T.replied;
    assert_eq!(c.packet(BACK, 0), CtVerdict::New);
    assert_eq!(c.entry.flags & ct_flags::OPENED_BY_A, 0, "the other side opens it this time");
}

#[test]
fn an_echo_is_answered() {
    let mut c = Life::open(proto::ICMP, 0);
    assert_eq!((c.packet(BACK, 0), c.left()), (CtVerdict::Reply, T.icmp));
}

#[test]
fn reports_come_for_what_is_new_and_once_per_interval() {
    let mut c = Life::open(proto::TCP, SYN);
    let due = |c: &mut Life, out: bool, flags: u8, tick: u32| {
        c.packet(out, flags);
        note(&mut c.entry, usize::from(!out), proto::TCP, flags, tick, 100).map(|r| r.packets)
    };
    assert_eq!(due(&mut c, OUT, SYN, 0), Some(1));
    assert_eq!(due(&mut c, OUT, SYN, 1), None, "the same again");
    assert_eq!(due(&mut c, BACK, SYN | ACK, 2), Some(1));
    assert_eq!(due(&mut c, OUT, ACK, 3), Some(2), "stands for the one that was kept back");
    assert_eq!(due(&mut c, OUT, PSH | ACK, 4), Some(1));
    for tick in 5..104 {
        assert_eq!(due(&mut c, OUT, PSH | ACK, tick), None);
    }
    assert_eq!(due(&mut c, OUT, ACK, 104), Some(100), "the interval is over");
    assert_eq!(due(&mut c, OUT, FIN | ACK, 105), Some(1));
    assert_eq!(due(&mut c, BACK, FIN | ACK, 106), Some(1));
    assert_eq!(due(&mut c, OUT, ACK, 107), Some(1), "completes the close");
    assert_eq!(due(&mut c, OUT, ACK, 108), None);
}

#[test]
fn without_an_interval_every_packet_is_reported() {
    let mut c = Life::open(proto::UDP, 0);
    for _ in 0..3 {
        assert_eq!(note(&mut c.entry, 0, proto::UDP, 0, 7, 0).map(|r| r.packets), Some(1));
    }
}

proptest! {
    /// Whatever comes, an entry stays well-formed: a known state, a life that fits it, and no direction but the two.
    #[test]
    fn entries_stay_well_formed(packets in prop::collection::vec((any::<bool>(), any::<u8>(), 0u32..400), 0..60), proto in prop::sample::select(vec![1u8, 6, 17, 132])) {
        let mut c = Life::open(proto, SYN);
        for (out, flags, later) in packets {
            c.beat += later;
            let flags = if proto == proto::TCP { flags } else { 0 };
            let expired = c.entry.expires <= c.beat;
            let verdict = c.packet(out, flags);
            prop_assert!(c.entry.expires > c.beat);
            prop_assert!(c.left() <= T.tcp_established);
            prop_assert!(CtState::from_u8(c.entry.state).is_some());
            prop_assert_eq!(c.state() as u8 >= 16, proto != proto::TCP);
            if expired { prop_assert_eq!(verdict, CtVerdict::New); }
            if flags & RST != 0 { prop_assert_eq!(c.state(), CtState::Closed); }
        }
    }

    /// No packet goes uncounted: the events of a direction stand for all of its packets but those since the last one.
    #[test]
    fn every_packet_is_in_an_event(packets in prop::collection::vec((any::<u8>(), 0u32..50), 1..200)) {
        let mut c = Life::open(proto::TCP, SYN);
        let (mut tick, mut told) = (0u32, 0u32);
        let total = packets.len() as u32;
        for (flags, later) in packets {
            tick += later;
            told += note(&mut c.entry, 0, proto::TCP, flags, tick, 100).map_or(0, |r| r.packets);
        }
        prop_assert_eq!(told + u32::from(c.entry.unreported[0]), total);
    }
}
