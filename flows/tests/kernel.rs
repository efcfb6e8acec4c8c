//! Events of the real programs, from the kernel's ring to a line.

use std::path::PathBuf;
use std::time::Duration;

use pleopod_flows::kernel::Reader;
use pleopod_flows::{Config, Eyes};
use pleopod_sys_bpf::{LoadOptions, Loaded, mount};
use tokio_stream::StreamExt;

/// A bpffs that is unmounted when the test ends, however it ends.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pleo-t-{}-flows", std::process::id()));
        assert!(mount::ensure_bpffs(&path).expect("mount"), "a fresh mount");
        Self(path)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
        std::fs::remove_dir(&self.0).ok();
    }
}

/// An IPv4 TCP SYN from 192.0.2.1:1000 to 192.0.2.2:80. No pod has that source, so `from_pod` drops it.
fn spoofed() -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0xf6, 0xcc, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0x03, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

#[tokio::test]
async fn a_drop_in_the_kernel_becomes_a_line_soon() {
    let bpffs = Bpffs::new();
    let pins = bpffs.0.join("pleopod");
    let options =
        LoadOptions { pins: pins.clone(), config: pleopod_abi::Config::STANDARD, max_entries: Vec::new() };
    let loaded = Loaded::load(&options).unwrap_or_else(|error| panic!("{error}"));
    let eyes = Eyes::new(Config { node: "n".into(), cluster: "c".into(), version: "0".into(), capacity: 64 });
    let mut drops = Box::pin(eyes.monitor(vec!["drop".into()]).expect("a type"));
    let mut reader = Reader::spawn(eyes.clone(), &pins).expect("a reader");
    // Twice: the second one only comes if the reader went back to waiting.
    for round in 1..=2 {
        loaded.test_run("from_pod", &spoofed(), &[], 1).expect("a run");
        let next = tokio::time::timeout(Duration::from_secs(5), drops.next());
        let event = next.await.unwrap_or_else(|_| panic!("no event in round {round}")).expect("an event");
        assert!(event.summary.starts_with("xx drop (Invalid source ip) from-endpoint"), "{}", event.summary);
        assert!(event.summary.contains("192.0.2.1:1000 -> 192.0.2.2:80 tcp SYN"), "{}", event.summary);
    }
    assert_eq!(eyes.stats().lost_in_agent, 0, "every record was understood");
    assert_eq!(eyes.stats().seen, 2);
    assert!(reader.ended().is_none());
    drop(reader);
}
