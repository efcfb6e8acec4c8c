//! Lengths that no packet text can be wrong about: bytes as the fuzzer found them.

use pleopod_abi::DropReason;
use pleopod_datapath_logic::parse::{self, Parsed};
use pleopod_datapath_logic::wire::Bytes;
use zerocopy::FromBytes;

struct Packet(Vec<u8>);

impl Bytes for Packet {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a small packet")
    }

    fn load<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let start = offset as usize;
        T::read_from_bytes(self.0.get(start..start + size_of::<T>())?).ok()
    }
}

/// IPv6 with one hop-by-hop header of `units` and `next` after it; 16 bytes of payload are there.
fn hop_by_hop(units: u8, next: u8) -> Packet {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    bytes.extend([0x60, 0, 0, 0, 0, 16, 0, 64]);
    for last in [1, 2] {
        bytes.push(0xfd);
        bytes.extend([0; 14]);
        bytes.push(last);
    }
    bytes.extend([next, units, 1, 4, 0, 0, 0, 0]);
    bytes.extend([0; 8]);
    Packet(bytes)
}

#[test]
fn an_extension_header_ends_inside_the_packet() {
    let read = |packet: &Packet| parse::parse(packet, 0x86dd, &mut Parsed::default());
    // 89: OSPF, a protocol whose header is not looked at.
    assert_eq!(read(&hop_by_hop(0, 89)), Ok(parse::Kind::Ip));
    assert_eq!(read(&hop_by_hop(1, 89)), Ok(parse::Kind::Ip), "nothing after it");
    assert_eq!(read(&hop_by_hop(2, 89)), Err(DropReason::InvalidPacket));
    assert_eq!(read(&hop_by_hop(0x80, 0x80)), Err(DropReason::InvalidPacket));
    assert_eq!(read(&hop_by_hop(0x80, 17)), Err(DropReason::CtInvalidHeader));
}
