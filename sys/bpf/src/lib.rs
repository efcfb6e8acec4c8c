//! The thin layer over bpf(2).

pub mod object;
