//! The socket hooks: a Service is chosen where a socket asks for it, so no packet is ever translated.
//!
//! connect (and sendmsg of an unconnected socket) puts the address of a backend in place of the Service's and remembers the
//! pair under the socket's cookie; recvmsg and getpeername put the Service's address back. IPv4 destinations of IPv6 sockets
//! are the same v4-mapped address as everywhere, so they need no case of their own.

use crate::{
    config::{has, ready},
    emit,
    lb::{Chance, choose, choose_sticky, frontend, is_service, may_ask},
    maps,
};
use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_netns_cookie, bpf_get_prandom_u32,
        bpf_get_smp_processor_id, bpf_get_socket_cookie, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns,
        bpf_set_retval,
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use pleopod_abi::{
    Addr16, Be16,
    config::config_flags,
    endpoint::{NetnsKey, NetnsValue},
    event::{EVENT_VERSION, EventHeader, SockEvent, kind},
    identity,
    lb::{LbAffinityKey, LbBackend, LbFrontendValue, LbReverseKey, LbReverseValue, frontend_flags},
    metrics::{Direction, counter},
    proto,
    reason::{Verdict, XlatePoint},
    time::beats,
};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;
const BPF_ANY: u64 = 0;

#[cgroup_sock_addr(connect4)]
pub fn sock_connect4(ctx: SockAddrContext) -> i32 {
    forward(&Call::v4(ctx), false)
}

#[cgroup_sock_addr(connect6)]
pub fn sock_connect6(ctx: SockAddrContext) -> i32 {
    forward(&Call::v6(ctx), false)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sock_sendmsg4(ctx: SockAddrContext) -> i32 {
    forward(&Call::v4(ctx), true)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sock_sendmsg6(ctx: SockAddrContext) -> i32 {
    forward(&Call::v6(ctx), true)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn sock_recvmsg4(ctx: SockAddrContext) -> i32 {
    backward(&Call::v4(ctx), false)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn sock_recvmsg6(ctx: SockAddrContext) -> i32 {
    backward(&Call::v6(ctx), false)
}

#[cgroup_sock_addr(getpeername4)]
pub fn sock_getpeer4(ctx: SockAddrContext) -> i32 {
    backward(&Call::v4(ctx), true)
}

#[cgroup_sock_addr(getpeername6)]
pub fn sock_getpeer6(ctx: SockAddrContext) -> i32 {
    backward(&Call::v6(ctx), true)
}

/// The call of a socket: its context and the family of the address in it.
struct Call {
    ctx: *mut bpf_sock_addr,
    v6: bool,
}

/// An address and a port.
#[derive(Clone, Copy)]
struct Peer {
    addr: Addr16,
    port: Be16,
}

/// From the Service to a backend. `sticky`: choose by the socket and not anew each time, for sockets that send many datagrams
/// without connecting.
#[inline(always)]
fn forward(call: &Call, sticky: bool) -> i32 {
    if !ready() || !has(config_flags::SOCKET_LB) {
        return ALLOW;
    }
    let protocol = call.protocol();
    if protocol != proto::TCP && protocol != proto::UDP && protocol != proto::SCTP {
        return ALLOW;
    }
    let asked = call.peer();
    let Some(frontend) = frontend(asked.addr, asked.port, protocol) else {
        if is_service(&asked.addr) {
            return refuse();
        }
        if !sticky && (protocol != proto::TCP || call.has_asked()) {
            forget(call, &asked);
        }
        return ALLOW;
    };
    // A node port at the loopback address is the node's own; a pod has a loopback of its own.
    if asked.addr.is_loopback() && call.is_pod() {
        return ALLOW;
    }
    if frontend.flags & frontend_flags::SOURCE_RANGES != 0 && !call.may_ask(frontend) {
        return refuse();
    }
    let cookie = call.cookie();
    let chance = Chance {
        // SAFETY: no arguments.
        connection: if sticky { mix(cookie) } else { unsafe { bpf_get_prandom_u32() } },
        client: || mix(call.netns()),
        steady: sticky,
    };
    let chosen = if frontend.affinity_timeout == 0 {
        choose(frontend, &frontend.inside, chance)
    } else {
        same_as_before(call, frontend, chance)
    };
    let Some(backend) = chosen else { return refuse() };
    let there = Peer { addr: backend.addr, port: backend.port };
    let reverse = LbReverseKey { cookie, addr: there.addr, port: there.port, proto: protocol, _pad: [0; 5] };
    let service =
        LbReverseValue { addr: asked.addr, port: asked.port, _pad: 0, service_id: frontend.service_id };
    let known = sticky
        // SAFETY: as above; the entry is only compared.
        && unsafe { maps::pleo_lb_rev.get(reverse) }.is_some_and(|v| v.addr == asked.addr && v.port == asked.port);
    if !known {
        // A full map evicts the oldest; without the entry the socket would merely see the backend's address.
        let _ = maps::pleo_lb_rev.insert(reverse, service, BPF_ANY);
    }
    call.set_peer(there);
    if has(config_flags::SOCK_EVENTS) && !known {
        let pair = Pair {
            pre: XlatePoint::PreForward,
            before: asked,
            post: XlatePoint::PostForward,
            after: Some(there),
        };
        report(call, &pair, frontend.service_id, cookie);
    }
    ALLOW
}

/// The backend of the last connection from here, or another that is remembered for the next one.
#[inline(always)]
fn same_as_before<C: FnOnce() -> u32>(
    call: &Call,
    frontend: &'static LbFrontendValue,
    chance: Chance<C>,
) -> Option<&'static LbBackend> {
    // SAFETY: no arguments.
    let beat = beats(unsafe { bpf_ktime_get_coarse_ns() });
    let key = LbAffinityKey::inside(call.netns(), frontend.service_id);
    choose_sticky(frontend, false, &key, beat, chance)
}

/// From the backend to the Service.
///
/// An event is sent for what was translated, and for getpeername also for what was not; not for every datagram received.
#[inline(always)]
fn backward(call: &Call, always_report: bool) -> i32 {
    if !ready() || !has(config_flags::SOCKET_LB) {
        return ALLOW;
    }
    let protocol = call.protocol();
    if protocol != proto::TCP && protocol != proto::UDP && protocol != proto::SCTP {
        return ALLOW;
    }
    let there = call.peer();
    let cookie = call.cookie();
    let key = LbReverseKey { cookie, addr: there.addr, port: there.port, proto: protocol, _pad: [0; 5] };
    // SAFETY: read at once; an evicted entry keeps its memory until the program ends.
    let found = unsafe { maps::pleo_lb_rev.get(key) };
    let events = has(config_flags::SOCK_EVENTS);
    let Some(service) = found else {
        if events && always_report {
            let pair = Pair {
                pre: XlatePoint::PreReverse,
                before: there,
                post: XlatePoint::PostReverse,
                after: None,
            };
            report(call, &pair, 0, cookie);
        }
        return ALLOW;
    };
    let asked = Peer { addr: service.addr, port: service.port };
    let service_id = service.service_id;
    call.set_peer(asked);
    if events {
        let pair = Pair {
            pre: XlatePoint::PreReverse,
            before: there,
            post: XlatePoint::PostReverse,
            after: Some(asked),
        };
        report(call, &pair, service_id, cookie);
    }
    ALLOW
}

/// As a closed port would.
#[inline(always)]
fn refuse() -> i32 {
    emit::count(counter::NO_BACKEND, Direction::Egress, 0);
    // SAFETY: number only.
    let _ = unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

/// A socket may connect again, to a backend by its own address: what it asked for before no longer counts. A TCP socket can do so
/// when the first try failed.
#[inline(always)]
fn forget(call: &Call, peer: &Peer) {
    let key = LbReverseKey {
        cookie: call.cookie(),
        addr: peer.addr,
        port: peer.port,
        proto: call.protocol(),
        _pad: [0; 5],
    };
    // Looked for first, which takes no lock: nearly always there is none.
    // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
    if unsafe { maps::pleo_lb_rev.get(key) }.is_some() {
        let _ = maps::pleo_lb_rev.remove(key);
    }
}

/// Spreads socket cookies, which are small consecutive numbers, over 32 bits.
#[inline(always)]
fn mix(cookie: u64) -> u32 {
    let spread = cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((spread ^ (spread >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

/// What is told of a translation: what was asked for and, unless nothing was translated, what came of it.
struct Pair {
    pre: XlatePoint,
    before: Peer,
    post: XlatePoint,
    after: Option<Peer>,
}

/// Tells of a translation. Who made the call is found out once for both events.
#[inline(always)]
fn report(call: &Call, pair: &Pair, service_id: u32, cookie: u64) {
    let netns = call.netns();
    // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
    let owner: Option<&NetnsValue> = unsafe { maps::pleo_netns.get(NetnsKey { cookie: netns }) };
    let (src_identity, endpoint_id, src) = match owner {
        Some(owner) if pair.before.addr.is_v4() => (owner.identity, owner.id, owner.addr4),
        Some(owner) => (owner.identity, owner.id, owner.addr6),
        None => (identity::HOST, 0, Addr16::UNSPECIFIED),
    };
    // SAFETY: the helpers take no arguments.
    let (cpu, time_ns, cgroup_id, pid) = unsafe {
        (
            bpf_get_smp_processor_id(),
            bpf_ktime_get_ns(),
            bpf_get_current_cgroup_id(),
            (bpf_get_current_pid_tgid() >> 32) as u32,
        )
    };
    let header = EventHeader {
        kind: kind::SOCK,
        version: EVENT_VERSION,
        len: size_of::<SockEvent>() as u16,
        cpu,
        time_ns,
    };
    let event = SockEvent {
        header,
        socket_cookie: cookie,
        netns_cookie: netns,
        cgroup_id,
        point: pair.pre as u8,
        verdict: Verdict::Traced as u8,
        proto: call.protocol(),
        _pad: 0,
        service_id,
        src_identity,
        endpoint_id,
        sport: call.local_port(),
        src,
        dst: pair.before.addr,
        dport: pair.before.port,
        _pad2: 0,
        pid,
    };
    send(&event);
    if let Some(after) = &pair.after {
        let translated = Verdict::Translated as u8;
        send(&SockEvent {
            point: pair.post as u8,
            verdict: translated,
            dst: after.addr,
            dport: after.port,
            ..event
        });
    }
}

/// Puts an event into the ring. Never waits: with no room there it is counted as lost.
#[inline(always)]
fn send(event: &SockEvent) {
    if maps::pleo_events.output_untyped::<SockEvent>(event, 0).is_err() {
        emit::count(counter::SOCK_EVENT_LOST, Direction::Unknown, 0);
    }
}

// === impl Call ===

/// Reads or writes a field of the context one by one: the verifier knows only whole fields at fixed offsets.
macro_rules! field {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: the context of the program; volatile keeps the compiler from joining accesses.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx).$($field)+) }
    };
}

macro_rules! set_field {
    ($ctx:expr, $value:expr, $($field:tt)+) => {
        // SAFETY: the context of the program; the field is writable for these hooks.
        unsafe { core::ptr::write_volatile(&raw mut (*$ctx).$($field)+, $value) }
    };
}

impl Call {
    #[inline(always)]
    fn v4(ctx: SockAddrContext) -> Self {
        Self { ctx: ctx.sock_addr, v6: false }
    }

    #[inline(always)]
    fn v6(ctx: SockAddrContext) -> Self {
        Self { ctx: ctx.sock_addr, v6: true }
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        field!(self.ctx, protocol) as u8
    }

    #[inline(always)]
    fn peer(&self) -> Peer {
        let addr = if self.v6 {
            Addr16::from_words([
                field!(self.ctx, user_ip6[0]),
                field!(self.ctx, user_ip6[1]),
                field!(self.ctx, user_ip6[2]),
                field!(self.ctx, user_ip6[3]),
            ])
        } else {
            Addr16::from_v4_word(field!(self.ctx, user_ip4))
        };
        Peer { addr, port: Be16::from_raw(field!(self.ctx, user_port) as u16) }
    }

    #[inline(always)]
    fn set_peer(&self, peer: Peer) {
        if self.v6 {
            let words = peer.addr.words();
            set_field!(self.ctx, words[0], user_ip6[0]);
            set_field!(self.ctx, words[1], user_ip6[1]);
            set_field!(self.ctx, words[2], user_ip6[2]);
            set_field!(self.ctx, words[3], user_ip6[3]);
        } else {
            set_field!(self.ctx, peer.addr.v4_word(), user_ip4);
        }
        set_field!(self.ctx, u32::from(peer.port.raw()), user_port);
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the context of the program.
        unsafe { bpf_get_socket_cookie(self.ctx.cast()) }
    }

    #[inline(always)]
    fn netns(&self) -> u64 {
        // SAFETY: the context of the program.
        unsafe { bpf_get_netns_cookie(self.ctx.cast()) }
    }

    /// Whether a TCP socket has tried to connect before: it keeps that peer's address (Linux net/ipv4/tcp.c, `tcp_disconnect`,
    /// which clears the port only).
    #[inline(always)]
    fn has_asked(&self) -> bool {
        let sk = field!(self.ctx, __bindgen_anon_1.sk);
        if sk.is_null() {
            return false;
        }
        let word = |at: usize| {
            // SAFETY: a socket that the kernel lends to the program; the index is a constant.
            unsafe { core::ptr::read_volatile(&raw const (*sk).dst_ip6[at]) }
        };
        // SAFETY: as above.
        let v4 = unsafe { core::ptr::read_volatile(&raw const (*sk).dst_ip4) };
        v4 != 0 || (self.v6 && (word(0) | word(1) | word(2) | word(3)) != 0)
    }

    /// Whether the pod may ask a Service that not everybody may. The node itself may.
    #[inline(always)]
    fn may_ask(&self, frontend: &LbFrontendValue) -> bool {
        // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
        let Some(owner) = (unsafe { maps::pleo_netns.get(NetnsKey { cookie: self.netns() }) }) else {
            return true;
        };
        let own = if self.peer().addr.is_v4() { &owner.addr4 } else { &owner.addr6 };
        may_ask(frontend, own)
    }

    /// Whether the call comes from a pod with a network of its own.
    #[inline(always)]
    fn is_pod(&self) -> bool {
        // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
        unsafe { maps::pleo_netns.get(NetnsKey { cookie: self.netns() }) }.is_some()
    }

    /// The socket's own port, zero while it has none.
    #[inline(always)]
    fn local_port(&self) -> Be16 {
        let sk = field!(self.ctx, __bindgen_anon_1.sk);
        if sk.is_null() {
            return Be16::ZERO;
        }
        // SAFETY: a socket that the kernel lends to the program.
        Be16::new(unsafe { core::ptr::read_volatile(&raw const (*sk).src_port) } as u16)
    }
}
