//! A packet in the kernel: reads and writes through helpers, which also reach what is not in the linear part of the buffer.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_skb_load_bytes, bpf_skb_store_bytes},
    programs::TcContext,
};
use core::mem::MaybeUninit;
use pleopod_abi::Be16;
use pleopod_datapath_logic::{
    checksum::decrement_ttl,
    parse::{Parsed, shape},
    wire::{Bytes, ETHERNET_LEN, Ethernet},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The packet that a tc program was called for.
#[derive(Clone, Copy)]
pub struct Skb {
    pub raw: *mut __sk_buff,
}

/// The kernel refused a write.
pub struct WriteFailed;

/// Marks a packet that from_pod has already judged and counted, for to_uplink. The upper half of the mark; the lower is free.
pub const MARK_DONE: u32 = 0x504c_0000;
const MARK_MASK: u32 = 0xffff_0000;
const BPF_F_RECOMPUTE_CSUM: u64 = 1;

impl Skb {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self { raw: ctx.skb.skb }
    }

    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context of the program.
        unsafe { (*self.raw).ifindex }
    }

    #[inline(always)]
    pub fn ethernet(&self) -> Option<Ethernet> {
        self.load(0)
    }

    /// Says that the packet needs nothing more on its way out of the node.
    #[inline(always)]
    pub fn mark_done(&self) {
        // SAFETY: the context of the program; `mark` is writable for tc.
        unsafe { (*self.raw).mark = MARK_DONE }
    }

    /// Whether [`Self::mark_done`] was said, and takes the mark off.
    #[inline(always)]
    pub fn take_done(&self) -> bool {
        // SAFETY: the context of the program; `mark` is writable for tc.
        unsafe {
            if (*self.raw).mark & MARK_MASK != MARK_DONE {
                return false;
            }
            (*self.raw).mark = 0;
        }
        true
    }

    #[inline(always)]
    pub fn store<T: IntoBytes + Immutable>(
        &self,
        offset: u32,
        value: &T,
        flags: u64,
    ) -> Result<(), WriteFailed> {
        // SAFETY: `value` is valid for its size; the helper checks the offset against the packet.
        let ret = unsafe {
            bpf_skb_store_bytes(
                self.raw.cast(),
                offset,
                core::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
                flags,
            )
        };
        if ret == 0 { Ok(()) } else { Err(WriteFailed) }
    }

    /// Destination and source MAC.
    #[inline(always)]
    pub fn set_macs(&self, dst: [u8; 6], src: [u8; 6]) -> Result<(), WriteFailed> {
        self.store(0, &[dst, src], 0)
    }

    /// TTL or hop limit one lower.
    #[inline(always)]
    pub fn decrement_ttl(&self, parsed: &Parsed) -> Result<(), WriteFailed> {
        if parsed.shape & shape::V6 == 0 {
            let Some(checksum) = self.load::<Be16>(ETHERNET_LEN + 10) else { return Err(WriteFailed) };
            let (ttl, checksum) = decrement_ttl(parsed.ttl, parsed.tuple.proto, checksum);
            let [high, low] = checksum.to_wire();
            // The header's own checksum makes up for the change: sums over the packet stay as they are.
            self.store(ETHERNET_LEN + 8, &[ttl, parsed.tuple.proto, high, low], 0)
        } else {
            self.store(ETHERNET_LEN + 7, &parsed.ttl.wrapping_sub(1), BPF_F_RECOMPUTE_CSUM)
        }
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context of the program.
        unsafe { (*self.raw).len }
    }

    #[inline(always)]
    fn load<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `size_of::<T>()` bytes or fails, and every bit pattern is a T (FromBytes).
        unsafe {
            let ret =
                bpf_skb_load_bytes(self.raw.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32);
            if ret == 0 { Some(value.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn forget(&self) {
        crate::scene::forget();
    }
}
