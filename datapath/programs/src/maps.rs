//! The maps, under the names and shapes of `pleopod_abi::maps`. Rust names are the kernel's names, so that a reader of
//! `bpftool map` finds them here.
#![allow(non_upper_case_globals)]

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use pleopod_abi::{
    Addr16,
    ct::{CtKey, CtValue},
    endpoint::{EndpointKey, EndpointValue, NetnsKey, NetnsValue},
    frag::{FragKey, FragValue},
    ipcache::{IpcacheKey, IpcacheValue},
    lb::{
        LbAddress, LbAffinityKey, LbAffinityValue, LbBackend, LbFrontendKey, LbFrontendValue, LbReverseKey,
        LbReverseValue, LbSource,
    },
    maps::{NO_PREALLOC, SCRATCH_LEN, call, size},
    metrics::{METRICS_LEN, MetricValue},
    nat::{NatKey, NatValue},
    node::NodeValue,
    route::{ROUTES_LEN, RouteValue},
};

const LAZY: usize = NO_PREALLOC as usize;

#[btf_map]
pub static pleo_endpoints: HashMap<EndpointKey, EndpointValue, { size::ENDPOINTS }, LAZY> = HashMap::new();
#[btf_map]
pub static pleo_netns: HashMap<NetnsKey, NetnsValue, { size::NETNS }, LAZY> = HashMap::new();
#[btf_map]
pub static pleo_ipcache: HashMap<IpcacheKey, IpcacheValue, { size::IPCACHE }, LAZY> = HashMap::new();
#[btf_map]
pub static pleo_ipc_lpm: LpmTrie<Addr16, IpcacheValue, { size::IPC_LPM }> = LpmTrie::new();
#[btf_map]
pub static pleo_lb_fe: HashMap<LbFrontendKey, LbFrontendValue, { size::LB_FE }, LAZY> = HashMap::new();
#[btf_map]
pub static pleo_lb_table: Array<u32, { size::LB_TABLE }> = Array::new();
#[btf_map]
pub static pleo_lb_be: Array<LbBackend, { size::LB_BE }> = Array::new();
#[btf_map]
pub static pleo_lb_addr: Array<LbAddress, { size::LB_ADDR }> = Array::new();
#[btf_map]
pub static pleo_lb_turn: Array<u64, { size::LB_ADDR }> = Array::new();
#[btf_map]
pub static pleo_lb_src: LpmTrie<LbSource, u32, { size::LB_SRC }> = LpmTrie::new();
#[btf_map]
pub static pleo_lb_aff: LruHashMap<LbAffinityKey, LbAffinityValue, { size::LB_AFF }> = LruHashMap::new();
#[btf_map]
pub static pleo_lb_rev: LruHashMap<LbReverseKey, LbReverseValue, { size::LB_REV }> = LruHashMap::new();
#[btf_map]
pub static pleo_ct: LruHashMap<CtKey, CtValue, { size::CT }> = LruHashMap::new();
#[btf_map]
pub static pleo_nat: LruHashMap<NatKey, NatValue, { size::NAT }> = LruHashMap::new();
#[btf_map]
pub static pleo_frag: LruHashMap<FragKey, FragValue, { size::FRAG }> = LruHashMap::new();
#[btf_map]
pub static pleo_metrics: PerCpuArray<MetricValue, { METRICS_LEN as usize }> = PerCpuArray::new();
#[btf_map]
pub static pleo_node: Array<NodeValue, 1> = Array::new();
#[btf_map]
pub static pleo_events: RingBuf<(), { size::EVENTS }> = RingBuf::new();
#[btf_map]
pub static pleo_calls: ProgramArray<{ (call::SET * call::SETS) as usize }> = ProgramArray::new();
#[btf_map]
pub static pleo_scratch: PerCpuArray<[u64; SCRATCH_LEN / 8], 1> = PerCpuArray::new();
#[btf_map]
pub static pleo_routes: PerCpuArray<RouteValue, { ROUTES_LEN as usize }> = PerCpuArray::new();
