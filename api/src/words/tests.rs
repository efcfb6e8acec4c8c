use super::*;

#[test]
fn tcp_flags_stand_in_hubbles_order() {
    let flags = |syn, ack, psh, fin, rst| TcpFlags { syn, ack, psh, fin, rst, ..Default::default() };
    assert_eq!(tcp_flags(&flags(true, false, false, false, false)), "SYN");
    assert_eq!(tcp_flags(&flags(true, true, false, false, false)), "SYN, ACK");
    assert_eq!(tcp_flags(&flags(false, true, true, false, false)), "ACK, PSH");
    assert_eq!(tcp_flags(&flags(false, true, false, true, false)), "ACK, FIN");
    assert_eq!(tcp_flags(&flags(false, true, false, false, true)), "ACK, RST");
}

#[test]
fn drop_reasons_read_as_words() {
    assert_eq!(drop_reason(DropReason::PolicyDenied), "Policy denied");
    assert_eq!(drop_reason(DropReason::InvalidSourceIp), "Invalid source IP");
    assert_eq!(drop_reason(DropReason::StaleOrUnroutableIp), "Stale or unroutable IP");
    assert_eq!(drop_reason(DropReason::IsAClusterip), "Is a ClusterIP");
    assert_eq!(drop_reason(DropReason::FibLookupFailed), "FIB lookup failed");
    assert_eq!(drop_reason(DropReason::DropHostNotReady), "Host not ready");
}

#[test]
fn icmp_reads_as_words() {
    assert_eq!(icmpv4(8, 0), "EchoRequest");
    assert_eq!(icmpv4(3, 3), "DestinationUnreachable(Port)");
    assert_eq!(icmpv4(3, 9), "DestinationUnreachable(9)");
    assert_eq!(icmpv4(200, 1), "200(1)");
    assert_eq!(icmpv6(129, 0), "EchoReply");
}

#[test]
fn identities_read_as_names_or_numbers() {
    assert_eq!(identity(2), "(world)");
    assert_eq!(identity(39126), "(ID:39126)");
}
