//! Cases as text: what is put in, and all that comes out. A runner plays the inputs in its own world and writes the whole file
//! again; the test is that the two are equal (`PLEO_CASES=write` keeps the new one instead).
//!
//! ```text
//! == name of the case
//! config +FLAG -FLAG            optional
//! kernel only                   optional: takes parts of the kernel that the user-space runner has not
//! PROGRAM DEVICE
//!   in    packet
//!   gives next|drop|redirect REASON     every counter that moved
//!   out   packet                        unless it was dropped
//!   event what was reported
//!   ct    connection and its state      all of the map, after this packet
//! ```
//!
//! The world: pods 10.1.0.11 / fd01::11 on lxc1 (MACs 2:1 in the pod, 1:1 outside) and .12 on lxc2 (2:2, 1:2); the node is 10.1.0.1
//! / fd01::1 to its pods and 192.0.2.1 / 2001:db8::1 on up0; all else is behind 192.0.2.2 / 2001:db8::2, where 10.1.1.5 is a pod
//! of another node with identity 1005. 10.96.0.10 and fd96::10 are a Service's.

use super::packet;
use pleopod_abi::{
    Addr16, Config, DropReason, ForwardReason,
    config::config_flags,
    ct::{CtKey, CtState, CtValue, ct_flags},
    event::{FlowEvent, flow_flags},
    proto,
    reason::{ObservationPoint, Verdict},
};

/// What became of one packet.
pub struct Played {
    /// Return value of the program.
    pub ret: i32,
    /// Names of the counters that moved, with their direction.
    pub counted: Vec<String>,
    /// The packet as it is now.
    pub bytes: Vec<u8>,
    /// What was reported.
    pub events: Vec<FlowEvent>,
}

/// Somewhere that cases can be played. Made anew for each case.
pub trait World {
    /// Hands a packet to a program.
    fn play(&mut self, program: &str, device: &str, packet: &[u8]) -> Played;
    /// All connections.
    fn connections(&self) -> Vec<(CtKey, CtValue)>;
}

/// Plays all cases of a file; panics at the first difference.
pub fn check<W: World>(path: &str, kernel: bool, mut make: impl FnMut(Config) -> W) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (head, cases) = text.split_once("== ").expect("a case");
    let mut again = head.to_owned();
    let mut played = 0;
    for case in cases.split("\n== ") {
        again += "== ";
        if case.contains("\nkernel only\n") && !kernel {
            again += case.trim_end();
            again += "\n\n";
            continue;
        }
        again += &play(case, &mut make);
        again += "\n";
        played += 1;
    }
    let again = again.trim_end().to_owned() + "\n";
    assert_ne!(played, 0);
    if std::env::var("PLEO_CASES").as_deref() == Ok("write") && kernel {
        std::fs::write(path, again).unwrap();
        return;
    }
    for (old, new) in text.lines().zip(again.lines()) {
        assert_eq!(old, new, "{path}: expected the first, got the second. All of it:\n{again}");
    }
    assert_eq!(text.lines().count(), again.lines().count(), "{path}:\n{again}");
}

fn play<W: World>(case: &str, make: &mut impl FnMut(Config) -> W) -> String {
    let mut lines = case.lines();
    let mut out = format!("{}\n", lines.next().expect("a name"));
    let mut world = None;
    let mut config = standard();
    let mut at = ("", "");
    for line in lines {
        let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
        match word {
            "config" => {
                rest.split(' ').for_each(|flag| set_flag(&mut config, flag));
                out += &format!("{line}\n");
            }
            "kernel" => out += &format!("{line}\n"),
            "in" => {
                let world = world.get_or_insert_with(|| make(config));
                let bytes = packet::build(rest.trim());
                out += &format!("  in    {}\n", rest.trim());
                out += &tell(world.play(at.0, at.1, &bytes), &bytes);
                let mut connections: Vec<String> =
                    world.connections().iter().map(|(k, v)| connection(k, v)).collect();
                connections.sort();
                connections.iter().for_each(|c| out += &format!("  ct    {c}\n"));
            }
            "" | "out" | "gives" | "event" | "ct" => {}
            program => {
                at = (program, rest.trim());
                out += &format!("{line}\n");
            }
        }
    }
    out
}

fn tell(played: Played, before: &[u8]) -> String {
    let how = match played.ret {
        -1 => "next",
        2 => "drop",
        7 => "redirect",
        other => panic!("returned {other}"),
    };
    let mut out = format!("  gives {how} {}\n", played.counted.join(", "));
    if how != "drop" {
        if played.bytes == before {
            out += "  out   same\n";
        } else {
            out += &format!("  out   {}\n", packet::render(&played.bytes));
        }
    }
    for event in &played.events {
        out += &format!("  event {}\n", event_line(event));
    }
    out
}

/// The configuration that cases change.
pub fn standard() -> Config {
    Config {
        native4: "10.1.0.0".parse::<std::net::IpAddr>().unwrap().into(),
        native4_prefixlen: 96 + 16,
        native6: "fd01::".parse::<std::net::IpAddr>().unwrap().into(),
        native6_prefixlen: 48,
        ..Config::STANDARD
    }
}

fn set_flag(config: &mut Config, flag: &str) {
    let bit = match &flag[1..] {
        "FLOW_EVENTS" => config_flags::FLOW_EVENTS,
        "EVENT_PER_PACKET" => config_flags::EVENT_PER_PACKET,
        "MASQUERADE" => config_flags::MASQUERADE,
        "CONNTRACK" => config_flags::CONNTRACK,
        "ANTI_SPOOF" => config_flags::ANTI_SPOOF,
        other => panic!("no flag {other}"),
    };
    match &flag[..1] {
        "+" => config.flags |= bit,
        "-" => config.flags &= !bit,
        other => panic!("{other} is neither + nor -"),
    }
}

/// The name of a reason, by its number.
pub fn reason_name(reason: u8) -> String {
    DropReason::from_u8(reason)
        .map(DropReason::name)
        .or(ForwardReason::from_u8(reason).map(ForwardReason::name))
        .or(pleopod_abi::metrics::counter::ALL.iter().find(|c| c.0 == reason).map(|c| c.1))
        .unwrap_or("?")
        .to_owned()
}

fn connection(k: &CtKey, v: &CtValue) -> String {
    let a = format!("{}:{}", k.a, k.a_port);
    let b = format!("{}:{}", k.b, k.b_port);
    let (from, to) = if v.flags & ct_flags::OPENED_BY_A != 0 { (a, b) } else { (b, a) };
    let state = CtState::from_u8(v.state).map_or("?", CtState::name);
    format!("{from} > {to} proto {} {state} opened by {}", k.proto, v.src_identity)
}

/// An event as `observe` would write it.
pub fn event_line(e: &FlowEvent) -> String {
    let reply = e.flags & flow_flags::REPLY != 0;
    let arrow = match (e.flags & flow_flags::REPLY_KNOWN != 0, reply) {
        (false, _) => "<>",
        (true, false) => "->",
        (true, true) => "<-",
    };
    let ports = matches!(e.proto, proto::TCP | proto::UDP | proto::SCTP);
    let side = |ip: Addr16, port: u16, id: u32| {
        if ports { format!("{ip}:{port} ({id})") } else { format!("{ip} ({id})") }
    };
    let source = side(e.src, e.sport.get(), e.src_identity);
    let destination = side(e.dst, e.dport.get(), e.dst_identity);
    let (left, right) = if reply { (destination, source) } else { (source, destination) };
    let what = match e.proto {
        proto::TCP => {
            let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
            let set: Vec<_> =
                names.iter().enumerate().filter(|(n, _)| e.tcp_flags >> n & 1 == 1).map(|x| *x.1).collect();
            format!("TCP {}", set.join(","))
        }
        proto::UDP => "UDP".to_owned(),
        proto::ICMP | proto::ICMPV6 => format!("ICMP {}/{}", e.icmp_type, e.icmp_code),
        other => format!("proto {other}"),
    };
    let verdict = if e.verdict == Verdict::Dropped as u8 { "DROPPED" } else { "FORWARDED" };
    let point = ObservationPoint::from_u8(e.point).map_or("?", ObservationPoint::name);
    let mut line = format!("{left} {arrow} {right} {point} {verdict} {what}");
    if e.verdict == Verdict::Dropped as u8 {
        line += &format!(", {}", reason_name(e.reason));
    }
    if e.flags & flow_flags::FRAGMENT != 0 {
        line += ", fragment";
    }
    if e.flags & flow_flags::ICMP_ERROR != 0 {
        line += ", error";
    }
    if e.packets > 1 {
        line += &format!(", stands for {}", e.packets);
    }
    line
}
