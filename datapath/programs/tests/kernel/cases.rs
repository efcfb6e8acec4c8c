//! The cases of `datapath/cases` through BPF_PROG_TEST_RUN of the real programs.

use crate::{
    loaded,
    nets::Net,
    packet,
    script::{self, Played, World},
};
use aya::{
    Ebpf,
    maps::RingBuf,
    programs::{SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions},
};
use pleopod_abi::{
    ct::{CtKey, CtValue},
    event::FlowEvent,
    metrics::{METRICS_LEN, metric_of_index},
};
use zerocopy::FromBytes as _;

struct Kernel<'a> {
    net: &'a Net,
    ebpf: Ebpf,
}

impl World for Kernel<'_> {
    fn play(&mut self, program: &str, device: &str, bytes: &[u8]) -> Played {
        let ifindex = self.net.ifindex(device);
        let before: Vec<u64> = (0..METRICS_LEN).map(|i| loaded::metric(&self.ebpf, i)).collect();
        let classifier: &mut SchedClassifier =
            self.ebpf.program_mut(program).expect(program).try_into().unwrap();
        if classifier.fd().is_err() {
            classifier.load().expect(program);
        }
        let mut context = [0u8; 192];
        // Where __sk_buff has its ifindex.
        context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let mut out = vec![0; 2048];
        let (ret, len) = self.net.inside("node", || {
            let run = classifier
                .test_run(TestRunOptions {
                    data_in: Some(bytes),
                    data_out: Some(&mut out),
                    ctx_in: Some(&context),
                    ctx_out: None,
                    repeat: 1,
                    attrs: TestRunAttrs::new(),
                })
                .unwrap_or_else(|e| panic!("{program}, {bytes:02x?}: {e:?}"));
            (run.return_value as i32, run.data_size_out as usize)
        });
        out.truncate(len);
        let mut counted = Vec::new();
        for index in 0..METRICS_LEN {
            let more = loaded::metric(&self.ebpf, index) - before[index as usize];
            if more > 0 {
                let (reason, direction) = metric_of_index(index).expect("an index");
                assert_eq!(more, 1);
                counted.push(format!("{} {}", script::reason_name(reason), direction.name()));
            }
        }
        let mut ring = RingBuf::try_from(self.ebpf.map_mut("pleo_events").unwrap()).unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(FlowEvent::read_from_bytes(&item).unwrap());
        }
        Played { ret, counted, bytes: out, events }
    }

    fn connections(&self) -> Vec<(CtKey, CtValue)> {
        loaded::dump::<CtKey, CtValue, 40, 32>(&self.ebpf, "pleo_ct")
    }
}

#[test]
fn the_kernel_plays_the_cases() {
    let net = Net::new(script::standard());
    for file in ["from_pod", "uplink", "stack"] {
        let path = format!("{}/../cases/{file}.case", env!("CARGO_MANIFEST_DIR"));
        script::check(&path, true, |config| Kernel { net: &net, ebpf: net.fill(&config) });
    }
}

/// What the text says is what the bytes are.
#[test]
fn packets_survive_being_written() {
    for text in [
        "eth 2:1 > 1:1 | ip 10.1.0.11 > 10.1.0.12 ttl 64 df | tcp 40000 > 80 SA | data 5",
        "eth 2:1 > 1:1 | ip fd01::11 > fd01::12 ttl 64 | hop-by-hop | fragment 7 0+ | udp 1 > 2 | data 16",
        "eth 2:1 > 1:1 | ip 10.1.0.12 > 10.1.0.11 ttl 64 | icmp 3/3 | ip 10.1.0.11 > 10.1.0.12 ttl 63 | udp 4 > 5",
    ] {
        assert_eq!(packet::render(&packet::build(text)), text);
    }
}
