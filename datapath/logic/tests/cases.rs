//! The cases of `datapath/cases` in user space: the same decisions, with hash maps for the kernel's and a routing table of one
//! line. What it does between the calls of the logic is what the programs do.

#[path = "../../cases/packet.rs"]
mod packet;
#[path = "../../cases/script.rs"]
mod script;

use pleopod_abi::{
    Addr16, Be16, Config, DropReason, ForwardReason,
    config::config_flags,
    ct::{CtKey, CtValue, CtVerdict},
    endpoint::{EndpointValue, endpoint_flags},
    event::{FlowEvent, flow_flags},
    metrics::Direction,
    reason::{ObservationPoint, Verdict},
};
use pleopod_datapath_logic::{
    checksum,
    conntrack::{self, Seen},
    parse::{self, Kind, Parsed, shape},
    report,
    route::{Way, way},
    spoof,
    wire::{Bytes as _, Ethernet},
};
use script::{Played, World};
use std::{collections::HashMap, net::IpAddr};

const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;
/// The clock stands still in a case.
const BEAT: u32 = 100;
const TICK: u32 = 100_000;

/// Ports and protocol.
type FirstFragment = (Be16, Be16, u8);

struct Model {
    config: Config,
    endpoints: HashMap<Addr16, EndpointValue>,
    connections: HashMap<CtKey, CtValue>,
    fragments: HashMap<(Addr16, Addr16, u32, u8), FirstFragment>,
}

/// What is known of a packet on its way; the counterpart of the programs' `Scene`.
struct Scene {
    bytes: Vec<u8>,
    parsed: Parsed,
    src_mac: [u8; 6],
    device: u32,
    point: ObservationPoint,
    direction: Direction,
    ct: CtVerdict,
    packets: u32,
    src_identity: u32,
    dst_identity: u32,
}

/// Return value and reason.
type Left = (i32, ForwardReason);

fn ip(text: &str) -> Addr16 {
    text.parse::<IpAddr>().unwrap().into()
}

fn device(name: &str) -> u32 {
    match name {
        "lxc1" => 11,
        "lxc2" => 12,
        _ => 20,
    }
}

impl Model {
    fn new(config: Config) -> Self {
        let mut endpoints = HashMap::new();
        for n in [1u8, 2] {
            let value = EndpointValue {
                ifindex: 10 + u32::from(n),
                identity: 1000 + u32::from(n),
                id: 100 + u16::from(n),
                flags: 0,
                mac: [2, 0, 0, 0, 2, n],
                node_mac: [2, 0, 0, 0, 1, n],
            };
            endpoints.insert(ip(&format!("10.1.0.1{n}")), value);
            endpoints.insert(ip(&format!("fd01::1{n}")), value);
        }
        for own in ["10.1.0.1", "192.0.2.1", "fd01::1", "2001:db8::1"] {
            let value =
                EndpointValue { identity: 1, flags: endpoint_flags::HOST, ..EndpointValue::default() };
            endpoints.insert(ip(own), value);
        }
        Self { config, endpoints, connections: HashMap::new(), fragments: HashMap::new() }
    }

    /// What the ipcache of the cases' world says: it knows the pods and nobody else.
    fn identity(&self, addr: &Addr16) -> u32 {
        self.endpoints.get(addr).filter(|e| e.flags == 0).map_or(2, |e| e.identity)
    }

    fn has(&self, flag: u32) -> bool {
        self.config.flags & flag != 0
    }

    fn fragment(&mut self, scene: &mut Scene) -> Result<(), DropReason> {
        let p = &mut scene.parsed;
        if p.shape & shape::FRAGMENT == 0 {
            return Ok(());
        }
        let proto = if p.shape & shape::V6 == 0 { p.tuple.proto } else { parse::FRAGMENT };
        let key = (p.tuple.src, p.tuple.dst, p.fragment_id, proto);
        if p.shape & shape::LATER_FRAGMENT == 0 {
            self.fragments.insert(key, (p.tuple.sport, p.tuple.dport, p.tuple.proto));
            return Ok(());
        }
        let first = self.fragments.get(&key).ok_or(DropReason::FragmentNotFound)?;
        (p.tuple.sport, p.tuple.dport, p.tuple.proto) = *first;
        Ok(())
    }

    fn track(&mut self, scene: &mut Scene, outside: bool) -> Result<(), DropReason> {
        if !self.has(config_flags::CONNTRACK) {
            self.comes_from_outside(scene, outside)?;
            scene.packets = u32::from(self.has(config_flags::EVENT_PER_PACKET));
            return Ok(());
        }
        if scene.parsed.shape & shape::ICMP_ERROR != 0 {
            self.comes_from_outside(scene, outside)?;
            scene.packets = 1;
            let mut quoted = Parsed::default();
            if parse::quoted(&scene.bytes[..], &scene.parsed, &mut quoted).is_some()
                && self.connections.contains_key(&quoted.tuple.key().0)
            {
                scene.ct = CtVerdict::Related;
            }
            return Ok(());
        }
        let (key, source_is_a) = scene.parsed.tuple.key();
        let (proto, tcp_flags) = (scene.parsed.tuple.proto, scene.parsed.tcp_flags);
        let seen = Seen { proto, tcp_flags, source_is_a, beat: BEAT };
        let known = self.connections.get(&key).map(|entry| entry.flags);
        let mark = conntrack::outside_mark(source_is_a);
        if known.is_some_and(|flags| outside != (flags & mark != 0)) {
            self.comes_from_outside(scene, outside)?;
        }
        if let Some(entry) = self.connections.get_mut(&key) {
            entry.flags = entry.flags & !mark | if outside { mark } else { 0 };
            let step = conntrack::step(entry, &seen, scene.src_identity, &self.config.ct);
            scene.ct = step.verdict;
            let all = self.config.flags & config_flags::EVENT_PER_PACKET != 0;
            let interval = if all { 0 } else { self.config.event_interval };
            scene.packets =
                report::note(entry, step.way, proto, tcp_flags, TICK, interval).map_or(0, |r| r.packets);
            return Ok(());
        }
        self.comes_from_outside(scene, outside)?;
        if scene.direction == Direction::Egress && Self::is_service(&scene.parsed.tuple.dst) {
            return Err(DropReason::IsClusterIp);
        }
        if scene.src_identity == 0 {
            scene.src_identity = self.identity(&scene.parsed.tuple.src);
        }
        let mut entry = conntrack::open(&seen, scene.src_identity, &self.config.ct);
        entry.flags |= if outside { mark } else { 0 };
        report::note(&mut entry, 0, proto, tcp_flags, TICK, 0);
        self.connections.insert(key, entry);
        (scene.ct, scene.packets) = (CtVerdict::New, 1);
        Ok(())
    }

    fn is_service(addr: &Addr16) -> bool {
        [ip("10.96.0.10"), ip("fd96::10")].contains(addr)
    }

    fn comes_from_outside(&self, scene: &Scene, outside: bool) -> Result<(), DropReason> {
        let ours = outside && self.endpoints.contains_key(&scene.parsed.tuple.src);
        if ours { Err(DropReason::InvalidSourceIp) } else { Ok(()) }
    }

    fn run_from_pod(&mut self, scene: &mut Scene) -> Result<Left, DropReason> {
        let kind = scene.parse()?;
        let own = self.endpoints.get(&scene.parsed.tuple.src).copied();
        let chatter = spoof::is_own_chatter(&scene.parsed, own.as_ref(), scene.device, scene.src_mac);
        if kind == Kind::Arp || chatter {
            return Ok((NEXT, ForwardReason::Passed));
        }
        if self.has(config_flags::ANTI_SPOOF) {
            spoof::check(own.as_ref(), scene.device, scene.src_mac)?;
        }
        scene.src_identity = own.map_or(0, |own| own.identity);
        self.fragment(scene)?;
        self.track(scene, false)?;
        let owner = self.endpoints.get(&scene.parsed.tuple.dst).copied();
        match (way(&scene.parsed, owner.as_ref()), owner) {
            (Way::Pod, Some(pod)) => Ok(scene.deliver(&pod)),
            (Way::Out, _) if Self::is_service(&scene.parsed.tuple.dst) => Err(DropReason::IsClusterIp),
            // The route of the node's own pods leads to pleo_host, all others to the uplink.
            (Way::Out, _) if !scene.parsed.tuple.dst.to_string().starts_with("10.1.0.") => {
                scene.point = ObservationPoint::ToNetwork;
                scene.age();
                Ok((REDIRECT, ForwardReason::ToNetwork))
            }
            _ => {
                scene.dst_identity = owner.filter(|o| o.flags != 0).map_or(0, |o| o.identity);
                scene.point = ObservationPoint::ToStack;
                Ok((NEXT, ForwardReason::ToStack))
            }
        }
    }

    fn run_to_pod(&mut self, scene: &mut Scene) -> Result<Left, DropReason> {
        match scene.parse()? {
            Kind::Ip if !spoof::is_link_chatter(&scene.parsed) => {}
            _ => return Ok((NEXT, ForwardReason::Passed)),
        }
        scene.dst_identity = self.endpoints.get(&scene.parsed.tuple.dst).map_or(0, |e| e.identity);
        scene.src_identity = self.endpoints.get(&scene.parsed.tuple.src).map_or(0, |e| e.identity);
        self.fragment(scene)?;
        self.track(scene, false)?;
        Ok((NEXT, ForwardReason::ToEndpoint))
    }

    fn run_from_uplink(&mut self, scene: &mut Scene) -> Result<Left, DropReason> {
        let passed = Ok((NEXT, ForwardReason::Passed));
        let Ok(Kind::Ip) = scene.parse() else { return passed };
        let pod = self.endpoints.get(&scene.parsed.tuple.dst).copied();
        scene.dst_identity = pod.map_or(0, |pod| pod.identity);
        let claimed = self.endpoints.get(&scene.parsed.tuple.src).is_some_and(|from| from.flags == 0);
        let Some(pod) = pod.filter(|pod| way(&scene.parsed, Some(pod)) == Way::Pod) else {
            let spoofed = claimed && !spoof::is_link_chatter(&scene.parsed);
            return if spoofed { Err(DropReason::InvalidSourceIp) } else { passed };
        };
        self.fragment(scene)?;
        self.track(scene, true)?;
        Ok(scene.deliver(&pod))
    }

    fn event(&self, scene: &Scene, verdict: Verdict, reason: u8) -> FlowEvent {
        let p = &scene.parsed;
        let known = !p.tuple.src.is_unspecified() || !p.tuple.dst.is_unspecified();
        let identity = |found: u32, addr: &Addr16| {
            if found == 0 && known { self.identity(addr) } else { found }
        };
        let mut flags = 0;
        if matches!(scene.ct, CtVerdict::New | CtVerdict::Established | CtVerdict::Reply) {
            flags |= flow_flags::REPLY_KNOWN;
        }
        if scene.ct == CtVerdict::Reply {
            flags |= flow_flags::REPLY;
        }
        if p.shape & shape::FRAGMENT != 0 {
            flags |= flow_flags::FRAGMENT;
        }
        if p.shape & shape::ICMP_ERROR != 0 {
            flags |= flow_flags::ICMP_ERROR;
        }
        FlowEvent {
            point: scene.point as u8,
            verdict: verdict as u8,
            reason,
            proto: p.tuple.proto,
            tcp_flags: p.tcp_flags,
            icmp_type: p.icmp_type,
            icmp_code: p.icmp_code,
            flags,
            src_identity: identity(scene.src_identity, &p.tuple.src),
            dst_identity: identity(scene.dst_identity, &p.tuple.dst),
            packets: scene.packets.max(1),
            src: p.tuple.src,
            dst: p.tuple.dst,
            sport: p.tuple.sport,
            dport: p.tuple.dport,
            ..FlowEvent::default()
        }
    }
}

impl Scene {
    fn parse(&mut self) -> Result<Kind, DropReason> {
        let ether_type = self.bytes[..].load::<Ethernet>(0).unwrap().ether_type.get();
        parse::parse(&self.bytes[..], ether_type, &mut self.parsed)
    }

    fn deliver(&mut self, pod: &EndpointValue) -> Left {
        self.point = ObservationPoint::ToEndpoint;
        self.direction = Direction::Ingress;
        self.dst_identity = pod.identity;
        self.age();
        self.bytes[..6].copy_from_slice(&pod.mac);
        self.bytes[6..12].copy_from_slice(&pod.node_mac);
        (REDIRECT, ForwardReason::ToEndpoint)
    }

    fn age(&mut self) {
        if self.parsed.shape & shape::V6 != 0 {
            self.bytes[21] -= 1;
            return;
        }
        let sum = Be16::from_wire([self.bytes[24], self.bytes[25]]);
        let (ttl, sum) = checksum::decrement_ttl(self.bytes[22], self.bytes[23], sum);
        self.bytes[22] = ttl;
        self.bytes[24..26].copy_from_slice(&sum.to_wire());
    }
}

impl World for Model {
    fn play(&mut self, program: &str, at: &str, bytes: &[u8]) -> Played {
        let (point, direction) = match program {
            "from_pod" => (ObservationPoint::FromEndpoint, Direction::Egress),
            "to_pod" => (ObservationPoint::ToEndpoint, Direction::Ingress),
            _ => (ObservationPoint::FromNetwork, Direction::Ingress),
        };
        let mut scene = Scene {
            bytes: bytes.to_vec(),
            parsed: Parsed::default(),
            src_mac: bytes[6..12].try_into().unwrap(),
            device: device(at),
            point,
            direction,
            ct: CtVerdict::Untracked,
            packets: 0,
            src_identity: 0,
            dst_identity: 0,
        };
        let left = match program {
            "from_pod" => self.run_from_pod(&mut scene),
            "to_pod" => self.run_to_pod(&mut scene),
            "from_uplink" => self.run_from_uplink(&mut scene),
            other => panic!("{other} is not played here"),
        };
        let told = self.has(config_flags::FLOW_EVENTS);
        let (ret, reason, events) = match left {
            Ok((ret, how)) => {
                let due = told && scene.packets > 0;
                let event = due.then(|| self.event(&scene, Verdict::Forwarded, how as u8));
                (ret, how as u8, event)
            }
            Err(reason) => {
                let event = told.then(|| self.event(&scene, Verdict::Dropped, reason as u8));
                (DROP, reason as u8, event)
            }
        };
        let counted = vec![format!("{} {}", script::reason_name(reason), scene.direction.name())];
        Played { ret, counted, bytes: scene.bytes, events: events.into_iter().collect() }
    }

    fn connections(&self) -> Vec<(CtKey, CtValue)> {
        self.connections.iter().map(|(k, v)| (*k, *v)).collect()
    }
}

#[test]
fn user_space_plays_the_cases() {
    for file in ["from_pod", "uplink", "stack"] {
        let path = format!("{}/../cases/{file}.case", env!("CARGO_MANIFEST_DIR"));
        script::check(&path, false, Model::new);
    }
}
