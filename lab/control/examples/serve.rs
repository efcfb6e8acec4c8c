//! Serves an empty cluster for trials by hand: `cargo run -p pleopod-lab-control --example serve`, then use the
//! kubeconfig it names.

use std::net::TcpListener;

use pleopod_lab_control::{Config, Control};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = TcpListener::bind(&address)?;
    let at = listener.local_addr()?;
    let control = Control::new(Config { endpoint: Some((at.ip(), at.port())), ..Config::default() })?;
    control.serve(listener)?;
    let path = std::env::temp_dir().join(format!("pleopod-control-{}.kubeconfig", at.port()));
    std::fs::write(&path, control.kubeconfig(&format!("https://{at}"), "admin"))?;
    println!("export KUBECONFIG={}", path.display());
    tokio::signal::ctrl_c().await?;
    control.shutdown();
    std::fs::remove_file(&path)?;
    Ok(())
}
