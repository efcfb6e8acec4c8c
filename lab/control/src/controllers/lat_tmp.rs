#[tokio::test(flavor = "multi_thread")]
async fn latency() {
    use crate::{
        Config, Control, meta,
        ops::{Place, Write},
    };
    use serde_json::json;
    for n in [2usize, 200] {
        let c = Control::new(Config::default()).expect("x");
        let core = c.core.clone();
        let mk = |shelf: &str, v: serde_json::Value| {
            let r = super::write::resource(&core, shelf).expect("r");
            let p = Place {
                resource: &r,
                version: "v1",
                namespace: meta::namespace(&v),
                name: meta::name(&v),
                sub: "",
            };
            core.create(&p, v.clone(), &Write::by("t")).expect("made");
        };
        mk(
            "services",
            json!({"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"default"},"spec":{"selector":{"a":"b"},"ports":[{"port":80}]}}),
        );
        for i in 0..n {
            mk(
                "pods",
                json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":format!("p{i}"),"namespace":"default","labels":{"a":"b"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"x"}]}}),
            );
        }
        let r = super::write::resource(&core, "pods").expect("r");
        let set = |i: usize, ready: &str| {
            let name = format!("p{i}");
            let p = Place { resource: &r, version: "v1", namespace: "default", name: &name, sub: "status" };
            core.mutate(&p, &Write::by("t"), |o, _| { let mut o = o.expect("old").clone(); o["status"] = json!({"phase":"Running","podIP":format!("10.0.{}.{}", i/200, i%200+1),"conditions":[{"type":"Ready","status":ready}]}); Ok(o) }).expect("set");
        };
        for i in 0..n {
            set(i, "False");
        }
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let mut all = Vec::new();
        for k in 0..40 {
            let i = k % n;
            let at = core.store.version();
            let want = if k / n % 2 == 0 { "True" } else { "False" };
            set(i, want);
            let t = std::time::Instant::now();
            let tip = core.store.tip(&"endpointslices.discovery.k8s.io".into());
            loop {
                if let crate::store::Next::Events(e) =
                    core.store.after("endpointslices.discovery.k8s.io", at, 1)
                    && !e.is_empty()
                {
                    break;
                }
                let _ = &tip;
                std::hint::spin_loop();
                if t.elapsed().as_secs() > 2 {
                    panic!("never {k}");
                }
            }
            all.push(t.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        {
            use super::run::{Controller, Key};
            c.shutdown();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            set(0, "Weird");
            let mut e = super::glue::Endpoints;
            let key = Key::new("services", "default", "s");
            let t = std::time::Instant::now();
            let d = e.ask(&core, &key, jiff::Timestamp::now());
            let a = t.elapsed();
            let n = d.changes.len();
            super::write::carry_out(&core, "x", d.changes);
            set(0, "True");
            let d = e.ask(&core, &key, jiff::Timestamp::now());
            let m = d.changes.len();
            for ch in d.changes {
                let t = std::time::Instant::now();
                let say = format!("{ch:?}").chars().take(40).collect::<String>();
                super::write::carry_out(&core, "x", vec![ch]);
                println!("ask {a:?} ({n}) write {say} {:?} ({m})", t.elapsed());
            }
        }
        all.sort();
        println!("{n}: median {:?} p95 {:?}", all[20], all[38]);
        c.shutdown();
    }
}
