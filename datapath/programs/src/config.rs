//! The read-only data of the object, and how it is read.

use pleopod_abi::Config;

/// Overwritten by the loader before the programs are loaded, then frozen.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::UNSET;

/// Reads one field of [`CONFIG`] so that the compiler cannot put the value from this source in its place. The verifier does
/// know the loaded value and cuts what is switched off.
macro_rules! config {
    ($($field:ident).+) => {
        // SAFETY: a live, aligned, initialised static; volatile because the loader changes its bytes.
        unsafe { core::ptr::read_volatile(&raw const $crate::config::CONFIG.$($field).+) }
    };
}
pub(crate) use config;

/// Whether a bit of the flags is set.
#[inline(always)]
pub fn has(flag: u32) -> bool {
    config!(flags) & flag != 0
}

/// Whether the loader has set the data for this layout. Otherwise the programs stand aside.
#[inline(always)]
pub fn ready() -> bool {
    config!(magic) == pleopod_abi::MAGIC && config!(layout) == pleopod_abi::LAYOUT
}
