//! Socket hooks (to be written).
use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
macro_rules! sa { ($($n:ident $a:ident)*) => {$( #[cgroup_sock_addr($a)] pub fn $n(_ctx: SockAddrContext) -> i32 { 1 } )*} }
sa!(sock_connect4 connect4 sock_connect6 connect6 sock_sendmsg4 sendmsg4 sock_sendmsg6 sendmsg6 sock_recvmsg4 recvmsg4 sock_recvmsg6 recvmsg6 sock_getpeer4 getpeername4 sock_getpeer6 getpeername6);
