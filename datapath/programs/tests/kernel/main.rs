//! The real programs in the real kernel. Needs root (CAP_BPF, CAP_NET_ADMIN); a missing right is a failure, not a skip.

mod cases;
mod events;
mod loaded;
mod loads;
mod nets;
mod packets;
mod sockets;
mod speed;

#[path = "../../../cases/packet.rs"]
mod packet;
#[path = "../../../cases/script.rs"]
mod script;
