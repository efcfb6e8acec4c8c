#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod stub {
    use crate::maps;
    use aya_ebpf::{
        macros::{cgroup_sock_addr, classifier},
        programs::{SockAddrContext, TcContext},
    };
    use pleopod_abi::Config;
    #[unsafe(no_mangle)]
    pub static CONFIG: aya_ebpf::Global<Config> = aya_ebpf::Global::new(Config::UNSET);

    macro_rules! tc { ($($n:ident)*) => {$( #[classifier] pub fn $n(_ctx: TcContext) -> i32 { touch() } )*} }
    macro_rules! sa { ($($n:ident $a:ident)*) => {$( #[cgroup_sock_addr($a)] pub fn $n(_ctx: SockAddrContext) -> i32 { 1 } )*} }
    tc!(from_pod to_pod from_uplink to_uplink from_host to_host);
    sa!(sock_connect4 connect4 sock_connect6 connect6 sock_sendmsg4 sendmsg4 sock_sendmsg6 sendmsg6 sock_recvmsg4 recvmsg4 sock_recvmsg6 recvmsg6 sock_getpeer4 getpeername4 sock_getpeer6 getpeername6);

    fn touch() -> i32 {
        use maps::*;
        let mut x = 0usize;
        macro_rules! t { ($($m:ident)*) => {$( x ^= core::hint::black_box(&raw const $m as usize); )*} }
        t!(pleo_endpoints pleo_netns pleo_ipcache pleo_ipc_lpm pleo_lb_fe pleo_lb_slot pleo_lb_rev pleo_ct pleo_nat pleo_frag pleo_metrics pleo_node pleo_events);
        let _ = core::hint::black_box(x as u32);
        if CONFIG.load().magic == 7 { 0 } else { -1 }
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
