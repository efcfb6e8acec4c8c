//! The BPF object, as `build.rs` made it, inside this binary.

/// The bytes of the object, or nothing when this binary was built without the BPF toolchain.
#[cfg(not(pleopod_bpf_stub))]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pleopod.o"));
#[cfg(pleopod_bpf_stub)]
static OBJECT: &[u8] = &[];

/// This binary was built where the BPF toolchain was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this binary holds no BPF object: it was built without bpf-linker or rust-src; run `cargo xtask setup` and build again, \
     or build with PLEOPOD_BPF_OBJECT=FILE"
)]
pub struct ObjectMissing;

/// The ELF bytes of the BPF object, aligned for the parser.
pub fn object() -> Result<&'static [u8], ObjectMissing> {
    if OBJECT.is_empty() { Err(ObjectMissing) } else { Ok(OBJECT) }
}
