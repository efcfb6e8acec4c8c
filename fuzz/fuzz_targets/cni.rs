//! What a runtime may give the plugin: the configuration on standard input, and the variables, one a line before it.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../cni/src/error.rs"]
mod error;
#[path = "../../cni/src/input.rs"]
mod input;

use input::{Env, NetConf};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut word = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let env = Env { command: word(), container_id: word(), ifname: word(), args: word(), ..Env::default() };
    let stdin = parts.next().unwrap_or_default();
    let outcomes =
        [env.container_id().err(), env.ifname().err(), env.pod().err(), NetConf::parse(stdin).err()];
    let version = input::version_of(stdin);
    assert!(input::VERSIONS.contains(&version.as_str()));
    for error in outcomes.into_iter().flatten() {
        let told = error.to_json(&version).to_string();
        assert!(!told.contains('\n'), "{told}");
    }
    if let Ok(name) = env.ifname() {
        assert!(!name.is_empty() && name.len() <= 15);
    }
    if let Ok(conf) = NetConf::parse(stdin) {
        assert!(conf.at_least("0.3.0") && conf.socket.starts_with('/'));
    }
});
