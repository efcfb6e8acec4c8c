//! Any bytes as a record of the kernel's ring. What is taken has numbers with a meaning, and is printed without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pleopod_flows::decode::{Record, decode};

fuzz_target!(|data: &[u8]| {
    match decode(data) {
        Ok(Record::Flow(packet)) => {
            assert_eq!(data.len(), size_of_val(&packet.raw));
            let _ = (packet.is_reply(), format!("{packet:?}"));
        }
        Ok(Record::Sock(call)) => {
            assert_eq!(data.len(), size_of_val(&call.raw));
            let _ = format!("{call:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
