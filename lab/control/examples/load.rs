//! How many objects and watchers one control plane carries: `cargo run --release -p pleopod-lab-control --example
//! load -- SERVICES WATCHERS`. Prints times, no verdict.

use std::net::TcpListener;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use pleopod_lab_control::{Config, Control};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arg = |i: usize, or: usize| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (services, watchers) = (arg(1, 10_000), arg(2, 50));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", listener.local_addr()?);
    let control = Control::new(Config { window: services * 4, ..Config::default() })?;
    control.serve(listener)?;
    let k = Kubeconfig::from_yaml(&control.kubeconfig(&url, "admin"))?;
    let client =
        Client::try_from(kube::Config::from_custom_kubeconfig(k, &KubeConfigOptions::default()).await?)?;
    let api: Api<Service> = Api::default_namespaced(client);
    let from = control.resource_version().to_string();

    let begun = Instant::now();
    let watching: Vec<_> = (0..watchers)
        .map(|_| {
            let (api, from) = (api.clone(), from.clone());
            tokio::spawn(async move {
                let mut s = api.watch(&WatchParams::default(), &from).await?.boxed();
                let mut seen = 0;
                while let Some(e) = s.try_next().await? {
                    if matches!(e, WatchEvent::Added(_)) {
                        seen += 1;
                    }
                    if seen == services {
                        break;
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    futures::stream::iter(0..services)
        .map(|i| {
            let api = api.clone();
            async move {
                let s: Service = serde_json::from_value(json!({"metadata": {"name": format!("s{i}")},
                    "spec": {"ports": [{"port": 80}], "selector": {"app": format!("a{i}")}}}))?;
                anyhow::Ok(api.create(&PostParams::default(), &s).await?)
            }
        })
        .buffer_unordered(32)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    println!("{services} Services created in {:?}", begun.elapsed());
    for w in watching {
        w.await??;
    }
    println!("{watchers} watchers saw all of them after {:?}", begun.elapsed());
    let begun = Instant::now();
    let n = api.list(&ListParams::default()).await?.items.len();
    println!("listed {n} in {:?}", begun.elapsed());
    control.shutdown();
    Ok(())
}
