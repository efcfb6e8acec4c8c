//! A packet in the kernel: reads and writes through helpers, which also reach what is not in the linear part of the buffer.

use crate::{config::config, maps};
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
/// Ethernet, IP with all its options, and some extension headers.
const MOST_DIRECT: u32 = 255;

impl Skb {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self { raw: ctx.skb.skb }
    }

    /// Goes on in another program of this set (one of [`call`](pleopod_abi::maps::call)). Returns only if there is none.
    #[inline(always)]
    pub fn go_on(&self, program: u32) {
        let place = config!(calls).wrapping_add(program);
        let ctx = TcContext::new(self.raw);
        // SAFETY: the context of the program; nothing here needs to be dropped.
        unsafe { maps::pleo_calls.tail_call(&ctx, place) };
    }

    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context of the program.
        unsafe { (*self.raw).ifindex }
    }

    /// Whether the node itself sends the packet, and does not forward it for another.
    #[inline(always)]
    pub fn is_own(&self) -> bool {
        // SAFETY: the context of the program.
        unsafe { (*self.raw).ingress_ifindex == 0 }
    }

    /// Whether the packet, or each of the segments it stands for, fits a link of that MTU.
    #[inline(always)]
    pub fn fits(&self, mtu: u32) -> bool {
        // SAFETY: the context of the program.
        let (len, gso) = unsafe { ((*self.raw).len, (*self.raw).gso_size) };
        gso != 0 || len <= mtu + ETHERNET_LEN
    }

    /// The VLAN that a tag puts the packet into. The tag stands beside the packet, not in its Ethernet header; VLAN 0 is no VLAN
    /// but a priority (IEEE 802.1Q section 9.6).
    #[inline(always)]
    pub fn vlan(&self) -> Option<u16> {
        // SAFETY: the context of the program.
        let (present, tag) = unsafe { ((*self.raw).vlan_present, (*self.raw).vlan_tci) };
        match tag as u16 & 0xfff {
            id if present != 0 && id != 0 => Some(id),
            _ => None,
        }
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

    /// Where a T lies in the linear part of the buffer, if it lies there whole. Offsets beyond what headers reach are left to
    /// the helper, because the verifier wants a small bound.
    #[inline(always)]
    fn direct<T>(&self, offset: u32) -> Option<*mut T> {
        if offset > MOST_DIRECT {
            return None;
        }
        // SAFETY: the context of the program.
        let (data, end) = unsafe { ((*self.raw).data as usize, (*self.raw).data_end as usize) };
        let at = data + offset as usize;
        if at + size_of::<T>() > end { None } else { Some(at as *mut T) }
    }

    /// Copies by the helper, which reaches all of the packet.
    #[inline(always)]
    fn copy<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `size_of::<T>()` bytes or fails, and every bit pattern is a T (FromBytes).
        unsafe {
            let ret =
                bpf_skb_load_bytes(self.raw.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32);
            if ret == 0 { Some(value.assume_init()) } else { None }
        }
    }

    /// Destination and source MAC.
    #[inline(always)]
    pub fn set_macs(&self, dst: [u8; 6], src: [u8; 6]) -> Result<(), WriteFailed> {
        if let Some(at) = self.direct::<[[u8; 6]; 2]>(0) {
            // SAFETY: checked to lie within the linear part, which the kernel has made writable before the program began.
            unsafe { at.cast::<Macs>().write(Macs::new(dst, src)) };
            return Ok(());
        }
        self.store(0, &[dst, src], 0)
    }

    /// TTL or hop limit one lower.
    #[inline(always)]
    pub fn decrement_ttl(&self, parsed: &Parsed) -> Result<(), WriteFailed> {
        if parsed.shape & shape::V6 == 0 {
            let Some(at) = self.direct::<[u16; 2]>(ETHERNET_LEN + 8) else { return Err(WriteFailed) };
            // SAFETY: as in `set_macs`.
            let [ttl_proto, checksum] = unsafe { at.read() };
            let [ttl, protocol] = ttl_proto.to_ne_bytes();
            let (ttl, checksum) = decrement_ttl(ttl, protocol, Be16::from_raw(checksum));
            // The header's own checksum makes up for the change: sums over the packet stay as they are.
            // SAFETY: as in `set_macs`.
            unsafe { at.write([u16::from_ne_bytes([ttl, protocol]), checksum.raw()]) };
            Ok(())
        } else {
            self.store(ETHERNET_LEN + 7, &parsed.ttl.wrapping_sub(1), BPF_F_RECOMPUTE_CSUM)
        }
    }
}

/// Two MACs as three words, the way they are written at once.
#[repr(C)]
#[derive(Clone, Copy)]
struct Macs([u32; 3]);

impl Macs {
    #[inline(always)]
    fn new(dst: [u8; 6], src: [u8; 6]) -> Self {
        Self([
            u32::from_ne_bytes([dst[0], dst[1], dst[2], dst[3]]),
            u32::from_ne_bytes([dst[4], dst[5], src[0], src[1]]),
            u32::from_ne_bytes([src[2], src[3], src[4], src[5]]),
        ])
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
        if let Some(at) = self.direct::<T>(offset) {
            // SAFETY: checked to lie within the linear part, and every bit pattern is a T (FromBytes). The address may be
            // misaligned for T; the instruction does not mind where the verifier accepts it.
            return Some(unsafe { core::ptr::read(at) });
        }
        self.copy(offset)
    }

    #[inline(always)]
    fn forget(&self) {
        crate::scene::forget();
    }
}
