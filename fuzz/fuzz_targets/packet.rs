//! Any bytes as a packet: the parser, the packet quoted in an ICMP error, and conntrack and reports on what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pleopod_abi::config::CtTimeouts;
use pleopod_datapath_logic::conntrack::{self, Seen};
use pleopod_datapath_logic::parse::{self, Kind, Parsed, shape};
use pleopod_datapath_logic::wire::{Bytes, ETHERNET_LEN, Ethernet};
use pleopod_datapath_logic::{report, route, spoof};
use zerocopy::FromBytes;

struct Packet<'a>(&'a [u8]);

impl Bytes for Packet<'_> {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    fn load<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let end = (offset as usize).checked_add(size_of::<T>())?;
        T::read_from_bytes(self.0.get(offset as usize..end)?).ok()
    }
}

fuzz_target!(|data: &[u8]| {
    let packet = Packet(data);
    let Some(ethernet) = packet.load::<Ethernet>(0) else { return };
    let mut parsed = Parsed::default();
    let Ok(Kind::Ip) = parse::parse(&packet, ethernet.ether_type.get(), &mut parsed) else { return };
    assert!(parsed.l4 >= ETHERNET_LEN);
    if parsed.shape & shape::LATER_FRAGMENT == 0 {
        assert!(parsed.l4 <= packet.len(), "a packet that was taken has its transport header");
    }
    let _ = route::way(&parsed, None);
    let _ = spoof::is_link_chatter(&parsed);
    if parsed.shape & shape::ICMP_ERROR != 0 {
        let mut quoted = Parsed::default();
        let _ = parse::quoted(&packet, &parsed, &mut quoted);
    }
    let (key, source_is_a) = parsed.tuple.key();
    let mut back = parsed.tuple;
    (back.src, back.dst) = (back.dst, back.src);
    (back.sport, back.dport) = (back.dport, back.sport);
    let (reverse, _) = back.key();
    assert_eq!(key, reverse, "both directions have one key");
    let seen = Seen { proto: parsed.tuple.proto, tcp_flags: parsed.tcp_flags, source_is_a, beat: 100 };
    let timeouts = CtTimeouts::STANDARD;
    let mut entry = conntrack::open(&seen, 7, &timeouts);
    for (beat, source_is_a) in [(100, !source_is_a), (101, source_is_a), (1 << 20, source_is_a)] {
        let step = conntrack::step(&mut entry, &Seen { beat, source_is_a, ..seen }, 7, &timeouts);
        let _ = report::note(&mut entry, step.way, seen.proto, seen.tcp_flags, beat, 100);
        assert!(entry.expires > beat, "a packet keeps its connection alive");
    }
});
