//! Compiles the contracts in `proto/` without protoc.

use std::error::Error;
use std::path::Path;

use prost::Message;

const FILES: [&str; 4] =
    ["pleopod/agent/agent.proto", "flow/flow.proto", "relay/relay.proto", "observer/observer.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(FILES, [Path::new("proto")])?;
    let encoded = descriptors.encode_to_vec();

    tonic_prost_build::configure()
        // pbjson has the well-known types with their JSON forms, but not FieldMask.
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(".google.protobuf.FieldMask", "::prost_types::FieldMask")
        // The agent's messages are printed as they are, numbers as numbers and nothing left out.
        .type_attribute(".pleopod.agent.v1", "#[derive(serde::Serialize, serde::Deserialize)]")
        .type_attribute(".pleopod.agent.v1", "#[serde(default)]")
        .compile_fds(descriptors)?;

    // Hubble's messages are printed as `hubble observe -o jsonpb` prints them: field names of the contract.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .extern_path(".google.protobuf", "::pbjson_types")
        .exclude([".observer.GetFlowsRequest"])
        .build(&[".flow", ".relay", ".observer"])?;
    Ok(())
}
