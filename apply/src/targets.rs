//! The kernel's tables, one file each.

pub mod services;
