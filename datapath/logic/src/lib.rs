//! Packet decisions as plain functions: the same code runs inside the BPF programs and under `cargo test`.
//!
//! In: bytes behind the [`wire::Bytes`] trait and values of the maps. Out: what the packet is, what its connection becomes, what
//! to do with it. No map access, no clock, no randomness: all of that is passed in. Nothing here panics, allocates or loops
//! without a bound, because the BPF verifier must be able to follow every path.

#![no_std]
#![deny(missing_docs)]

pub mod allowance;
pub mod checksum;
pub mod conntrack;
pub mod nat;
pub mod parse;
pub mod report;
pub mod route;
pub mod service;
pub mod spoof;
pub mod tuple;
pub mod wire;
