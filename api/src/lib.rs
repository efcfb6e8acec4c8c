//! The contracts spoken over gRPC, generated from `proto/` at build time.
//!
//! [`agent`] is what the CNI plugin and the command line ask of a node's agent. [`flow`], [`relay`] and [`observer`]
//! are Hubble's, byte for byte on the wire and in JSON, so that its clients can read what Pleopod serves.

#![deny(missing_docs)]

/// The agent's services (package `pleopod.agent.v1`). Messages serialise with serde under their field names.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod agent {
    tonic::include_proto!("pleopod.agent.v1");
}

/// Hubble's flow messages (package `flow`), with the JSON form of `hubble observe -o jsonpb`.
#[allow(missing_docs, deprecated, clippy::all, clippy::pedantic)]
pub mod flow {
    tonic::include_proto!("flow");
    include!(concat!(env!("OUT_DIR"), "/flow.serde.rs"));
}

/// The node states that the observer's messages refer to (package `relay`).
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod relay {
    tonic::include_proto!("relay");
    include!(concat!(env!("OUT_DIR"), "/relay.serde.rs"));
}

/// Hubble's observer service (package `observer`).
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod observer {
    tonic::include_proto!("observer");
    include!(concat!(env!("OUT_DIR"), "/observer.serde.rs"));
}

pub mod words;

pub use pbjson_types::Timestamp;

#[cfg(test)]
mod tests;
