//! The life of a translation.

use pleopod_abi::{
    config::CtTimeouts,
    nat::{nat_dir, nat_flags},
    proto,
};
use pleopod_datapath_logic::{
    nat::{flags_after, is_closed, life, yields},
    wire::tcp,
};

const T: CtTimeouts = CtTimeouts::STANDARD;

/// Packets as (direction, TCP flags), and the flags after them.
fn played(packets: &[(u8, u8)]) -> u16 {
    packets.iter().fold(0, |flags, (dir, tcp)| flags_after(flags, *dir, proto::TCP, *tcp))
}

const OUT: u8 = nat_dir::OUT;
const IN: u8 = nat_dir::IN;

#[test]
fn a_connection_lives_long_only_while_it_is_open() {
    let syn = [(OUT, tcp::SYN)];
    assert_eq!(life(proto::TCP, played(&syn), &T), T.tcp_syn, "nobody answered yet");
    let open = [(OUT, tcp::SYN), (IN, tcp::SYN | tcp::ACK), (OUT, tcp::ACK)];
    assert_eq!(life(proto::TCP, played(&open), &T), T.tcp_established);
    let half = [&open[..], &[(IN, tcp::FIN | tcp::ACK), (OUT, tcp::ACK)]].concat();
    assert_eq!(life(proto::TCP, played(&half), &T), T.tcp_established, "the other way may go on for long");
    let closed = [&half[..], &[(OUT, tcp::FIN | tcp::ACK), (IN, tcp::ACK)]].concat();
    assert_eq!(life(proto::TCP, played(&closed), &T), T.tcp_close);
    let again = [&closed[..], &syn].concat();
    assert_eq!(played(&again), 0, "the pod uses its port again");
}

#[test]
fn a_reset_ends_it_unless_the_pod_goes_on() {
    let open = [(OUT, tcp::SYN), (IN, tcp::SYN | tcp::ACK), (OUT, tcp::ACK)];
    for dir in [OUT, IN] {
        let reset = [&open[..], &[(dir, tcp::RST | tcp::ACK)]].concat();
        assert!(is_closed(played(&reset)));
    }
    let guessed = [&open[..], &[(IN, tcp::RST), (OUT, tcp::ACK)]].concat();
    assert!(!is_closed(played(&guessed)));
}

#[test]
fn datagrams_have_no_end_but_silence() {
    assert_eq!(life(proto::UDP, 0, &T), T.unreplied);
    let replied = flags_after(0, IN, proto::UDP, 0);
    assert_eq!(replied, nat_flags::REPLIED);
    assert_eq!(life(proto::UDP, replied, &T), T.replied);
    assert_eq!(life(proto::ICMP, replied, &T), T.icmp);
    assert!(yields(proto::UDP, replied) && yields(proto::ICMP, 0));
    assert!(!yields(proto::TCP, nat_flags::REPLIED) && !yields(proto::TCP, 0));
    assert!(yields(proto::TCP, nat_flags::RESET));
}
