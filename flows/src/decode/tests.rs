use super::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

fn flow() -> FlowEvent {
    FlowEvent {
        header: EventHeader {
            kind: kind::FLOW,
            version: EVENT_VERSION,
            len: u16::try_from(size_of::<FlowEvent>()).unwrap(),
            ..Default::default()
        },
        point: ObservationPoint::ToNetwork as u8,
        verdict: Verdict::Forwarded as u8,
        reason: ForwardReason::ToNetwork as u8,
        ct: CtVerdict::New as u8,
        direction: Direction::Egress as u8,
        flags: flow_flags::REPLY_KNOWN,
        ..Default::default()
    }
}

fn sock() -> SockEvent {
    SockEvent {
        header: EventHeader {
            kind: kind::SOCK,
            version: EVENT_VERSION,
            len: u16::try_from(size_of::<SockEvent>()).unwrap(),
            ..Default::default()
        },
        point: XlatePoint::PostForward as u8,
        verdict: Verdict::Translated as u8,
        ..Default::default()
    }
}

#[test]
fn good_records_are_read() {
    let Ok(Record::Flow(packet)) = decode(flow().as_bytes()) else { panic!("no packet") };
    assert_eq!((packet.point, packet.is_reply()), (ObservationPoint::ToNetwork, Some(false)));
    let Ok(Record::Sock(call)) = decode(sock().as_bytes()) else { panic!("no call") };
    assert!(call.translated);
}

#[test]
fn bad_records_are_refused_by_name() {
    assert_eq!(decode(&[]), Err(Error::Short(0)));
    let mut other = flow();
    other.header.version = 9;
    assert_eq!(decode(other.as_bytes()), Err(Error::Version(9)));
    let mut other = flow();
    other.header.kind = 9;
    assert_eq!(decode(other.as_bytes()), Err(Error::Kind(9)));
    let whole = size_of::<FlowEvent>();
    let event = flow();
    let bytes = event.as_bytes();
    assert_eq!(
        decode(&bytes[..whole - 1]),
        Err(Error::Length { kind: kind::FLOW, got: whole - 1, expected: whole })
    );
    let longer = [bytes, &[0; 8]].concat();
    assert!(matches!(decode(&longer), Err(Error::Length { .. })));
    let mut other = flow();
    other.reason = 99;
    assert_eq!(decode(other.as_bytes()), Err(Error::Value { field: "forward reason", value: 99 }));
    let mut other = flow();
    other.verdict = Verdict::Dropped as u8;
    assert!(matches!(decode(other.as_bytes()), Err(Error::Value { field: "drop reason", .. })));
    let mut other = sock();
    other.verdict = Verdict::Forwarded as u8;
    assert!(matches!(decode(other.as_bytes()), Err(Error::Value { field: "verdict of a socket call", .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_change_of_a_record_is_survived(at in 0usize..size_of::<FlowEvent>(), value: u8) {
        let event = flow();
        let mut bytes = event.as_bytes().to_vec();
        bytes[at] = value;
        if let Ok(Record::Flow(packet)) = decode(&bytes) {
            prop_assert_eq!(packet.raw.as_bytes(), &bytes[..]);
        }
    }
}
