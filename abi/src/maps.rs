//! The table of maps, so that a pinned map is checked before it is used again: a map of another size would be memory unsafety.

use crate::{ct, endpoint, frag, ipcache, lb, metrics, nat, node, route};

/// Kind of a map, with the kernel's `enum bpf_map_type` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapKind {
    /// BPF_MAP_TYPE_HASH.
    Hash = 1,
    /// BPF_MAP_TYPE_ARRAY.
    Array = 2,
    /// BPF_MAP_TYPE_PROG_ARRAY.
    ProgArray = 3,
    /// BPF_MAP_TYPE_PERCPU_ARRAY.
    PerCpuArray = 6,
    /// BPF_MAP_TYPE_LRU_HASH.
    LruHash = 9,
    /// BPF_MAP_TYPE_LPM_TRIE.
    LpmTrie = 11,
    /// BPF_MAP_TYPE_RINGBUF.
    RingBuf = 27,
}

/// What a map must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name in the object, in the kernel and of the pin.
    pub name: &'static str,
    /// Kind.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value for per-CPU maps).
    pub value_size: u32,
    /// Entries when nobody says otherwise; bytes for the ring buffer.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// What it is for, as `pleopod map list` says it.
    pub about: &'static str,
}

/// BPF_F_NO_PREALLOC.
pub const NO_PREALLOC: u32 = 1;

/// Default number of entries of each map: together about 25 MiB of kernel memory when empty, of which the LRU maps, which
/// are allocated in full, take 16.
pub mod size {
    /// `pleo_endpoints`.
    pub const ENDPOINTS: usize = 4096;
    /// `pleo_netns`.
    pub const NETNS: usize = 4096;
    /// `pleo_ipcache`.
    pub const IPCACHE: usize = 65536;
    /// `pleo_ipc_lpm`.
    pub const IPC_LPM: usize = 16384;
    /// `pleo_lb_fe`: a row for each of [`LB_ADDR`], and as many for addresses.
    pub const LB_FE: usize = 131072;
    /// `pleo_lb_table`.
    pub const LB_TABLE: usize = 524288;
    /// `pleo_lb_be`.
    pub const LB_BE: usize = 65536;
    /// `pleo_lb_addr` and `pleo_lb_turn`; `pleo_lb_fe` has a row for each and one for each address.
    pub const LB_ADDR: usize = 65536;
    /// `pleo_lb_src`.
    pub const LB_SRC: usize = 16384;
    /// `pleo_lb_aff`.
    pub const LB_AFF: usize = 16384;
    /// `pleo_lb_rev`.
    pub const LB_REV: usize = 32768;
    /// `pleo_ct`.
    pub const CT: usize = 65536;
    /// `pleo_nat`.
    pub const NAT: usize = 32768;
    /// `pleo_frag`.
    pub const FRAG: usize = 4096;
    /// `pleo_events`, bytes.
    pub const EVENTS: usize = 2 * 1024 * 1024;
}

macro_rules! spec {
    ($id:ident, $name:literal, $kind:ident, $key:ty, $value:ty, $max:expr, $flags:expr, $about:literal) => {
        #[doc = $about]
        pub const $id: MapSpec = MapSpec {
            name: $name,
            kind: MapKind::$kind,
            key_size: size_of::<$key>() as u32,
            value_size: size_of::<$value>() as u32,
            max_entries: $max as u32,
            flags: $flags,
            about: $about,
        };
    };
}

spec!(
    ENDPOINTS,
    "pleo_endpoints",
    Hash,
    endpoint::EndpointKey,
    endpoint::EndpointValue,
    size::ENDPOINTS,
    NO_PREALLOC,
    "Addresses that live on this node"
);
spec!(
    NETNS,
    "pleo_netns",
    Hash,
    endpoint::NetnsKey,
    endpoint::NetnsValue,
    size::NETNS,
    NO_PREALLOC,
    "Network namespaces of the endpoints"
);
spec!(
    IPCACHE,
    "pleo_ipcache",
    Hash,
    ipcache::IpcacheKey,
    ipcache::IpcacheValue,
    size::IPCACHE,
    NO_PREALLOC,
    "Identity of single addresses"
);
spec!(
    IPC_LPM,
    "pleo_ipc_lpm",
    LpmTrie,
    ipcache::IpcacheLpmKey,
    ipcache::IpcacheValue,
    size::IPC_LPM,
    NO_PREALLOC,
    "Identity of prefixes"
);
spec!(
    LB_FE,
    "pleo_lb_fe",
    Hash,
    lb::LbFrontendKey,
    lb::LbFrontendValue,
    size::LB_FE,
    NO_PREALLOC,
    "Service frontends"
);
spec!(LB_TABLE, "pleo_lb_table", Array, u32, u32, size::LB_TABLE, 0, "Backends of frontends, by number");
spec!(LB_BE, "pleo_lb_be", Array, u32, lb::LbBackend, size::LB_BE, 0, "Backends of Services");
spec!(
    LB_ADDR,
    "pleo_lb_addr",
    Array,
    u32,
    lb::LbAddress,
    size::LB_ADDR,
    0,
    "Addresses of frontends, by number"
);
spec!(
    LB_TURN,
    "pleo_lb_turn",
    Array,
    u32,
    u64,
    size::LB_ADDR,
    0,
    "Whose turn it is, where backends take turns"
);
spec!(
    LB_SRC,
    "pleo_lb_src",
    LpmTrie,
    lb::LbSourceKey,
    u32,
    size::LB_SRC,
    NO_PREALLOC,
    "Clients that may ask a Service"
);
spec!(
    LB_AFF,
    "pleo_lb_aff",
    LruHash,
    lb::LbAffinityKey,
    lb::LbAffinityValue,
    size::LB_AFF,
    0,
    "Backends that clients stay with"
);
spec!(
    LB_REV,
    "pleo_lb_rev",
    LruHash,
    lb::LbReverseKey,
    lb::LbReverseValue,
    size::LB_REV,
    0,
    "Sockets that talk to a backend of a service"
);
spec!(CT, "pleo_ct", LruHash, ct::CtKey, ct::CtValue, size::CT, 0, "Connections");
spec!(
    NAT,
    "pleo_nat",
    LruHash,
    nat::NatKey,
    nat::NatValue,
    size::NAT,
    0,
    "Translations of masqueraded connections"
);
spec!(
    FRAG,
    "pleo_frag",
    LruHash,
    frag::FragKey,
    frag::FragValue,
    size::FRAG,
    0,
    "Ports of fragmented datagrams"
);
spec!(
    METRICS,
    "pleo_metrics",
    PerCpuArray,
    u32,
    metrics::MetricValue,
    metrics::METRICS_LEN,
    0,
    "Packets and bytes by reason and direction"
);
spec!(NODE, "pleo_node", Array, u32, node::NodeValue, 1, 0, "Facts about the node");

/// Programs that others go on in. Where they stand, so that each set of programs goes on in its own: at
/// [`Config::calls`](crate::Config::calls) plus one of these.
pub mod call {
    /// `uplink_service`.
    pub const UPLINK_SERVICE: u32 = 0;
    /// `pod_answer`.
    pub const POD_ANSWER: u32 = 1;
    /// `uplink_answer`.
    pub const UPLINK_ANSWER: u32 = 2;
    /// `uplink_onward`.
    pub const UPLINK_ONWARD: u32 = 3;
    /// Each with its place.
    pub const ALL: [(&str, u32); 4] = [
        ("uplink_service", UPLINK_SERVICE),
        ("pod_answer", POD_ANSWER),
        ("uplink_answer", UPLINK_ANSWER),
        ("uplink_onward", UPLINK_ONWARD),
    ];
    /// Places of one set.
    pub const SET: u32 = 4;
    /// Sets: the one in use, one that takes over, and those of agents that died while theirs did.
    pub const SETS: u32 = 4;
}
spec!(CALLS, "pleo_calls", ProgArray, u32, u32, call::SET * call::SETS, 0, "Programs that others go on in");

/// Bytes of work space that a program has per CPU.
pub const SCRATCH_LEN: usize = 1024;
spec!(SCRATCH, "pleo_scratch", PerCpuArray, u32, [u64; SCRATCH_LEN / 8], 1, 0, "Work space of the programs");

spec!(
    ROUTES,
    "pleo_routes",
    PerCpuArray,
    u32,
    route::RouteValue,
    route::ROUTES_LEN,
    0,
    "Recent answers of the routing table"
);

/// Events of the programs.
pub const EVENTS: MapSpec = MapSpec {
    name: "pleo_events",
    kind: MapKind::RingBuf,
    key_size: 0,
    value_size: 0,
    max_entries: size::EVENTS as u32,
    flags: 0,
    about: "Flow and socket events",
};

/// Every map of the object.
pub const ALL: &[MapSpec] = &[
    ENDPOINTS, NETNS, IPCACHE, IPC_LPM, LB_FE, LB_TABLE, LB_BE, LB_ADDR, LB_TURN, LB_SRC, LB_AFF, LB_REV, CT,
    NAT, FRAG, METRICS, NODE, CALLS, SCRATCH, ROUTES, EVENTS,
];

/// Kind of a program: where it is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramKind {
    /// BPF_PROG_TYPE_SCHED_CLS, for tcx links.
    Tc,
    /// BPF_PROG_TYPE_CGROUP_SOCK_ADDR, for cgroup links.
    SockAddr,
}

/// Every program of the object by function name.
pub const PROGRAMS: &[(&str, ProgramKind)] = &[
    ("from_pod", ProgramKind::Tc),
    ("to_pod", ProgramKind::Tc),
    ("from_uplink", ProgramKind::Tc),
    ("to_uplink", ProgramKind::Tc),
    ("from_host", ProgramKind::Tc),
    ("to_host", ProgramKind::Tc),
    ("uplink_service", ProgramKind::Tc),
    ("pod_answer", ProgramKind::Tc),
    ("uplink_answer", ProgramKind::Tc),
    ("uplink_onward", ProgramKind::Tc),
    ("sock_connect4", ProgramKind::SockAddr),
    ("sock_connect6", ProgramKind::SockAddr),
    ("sock_sendmsg4", ProgramKind::SockAddr),
    ("sock_sendmsg6", ProgramKind::SockAddr),
    ("sock_recvmsg4", ProgramKind::SockAddr),
    ("sock_recvmsg6", ProgramKind::SockAddr),
    ("sock_getpeer4", ProgramKind::SockAddr),
    ("sock_getpeer6", ProgramKind::SockAddr),
];
