//! Any bytes as the journal of leases, as they are, and with a header that fits them (which no chance would find). What is
//! restored can be written and restored again.
#![no_main]

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use pleopod_ipam::{Config, Ipam};

fn check(bytes: &[u8]) {
    let cidrs: [IpNet; 1] = ["172.16.0.0/24".parse().expect("a prefix")];
    match Ipam::restore(bytes, Config::default(), &cidrs) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(ipam) => {
            let written = ipam.journal();
            let again = Ipam::restore(&written, Config::default(), &cidrs).expect("what was written");
            assert_eq!(again.journal(), written);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    let checksum = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let header = format!(
        "{{\"format\":\"pleopod-leases\",\"version\":1,\"checksum\":\"{checksum:016x}\",\"length\":{}}}\n",
        data.len()
    );
    let mut whole = header.into_bytes();
    whole.extend_from_slice(data);
    whole.push(b'\n');
    check(&whole);
});
