//! A control plane of its own for each test, and kubectl to drive it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use pleopod_lab_control::{Config, Control};
use tokio::io::AsyncWriteExt as _;

/// A control plane that ends with the test.
pub struct Cluster {
    pub control: Control,
    pub url: String,
    dir: tempfile::TempDir,
}

/// What a kubectl said.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Cluster {
    pub fn start() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let control =
            Control::new(Config { endpoint: Some((at.ip(), at.port())), ..config }).expect("certificates");
        control.serve(listener).expect("serving");
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("https://{at}");
        std::fs::write(dir.path().join("admin"), control.kubeconfig(&url, "admin"))
            .expect("writing the kubeconfig");
        Self { control, url, dir }
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        let path = self.dir.path().join(user.replace([':', '/'], "_"));
        if !path.exists() {
            std::fs::write(&path, self.control.kubeconfig(&self.url, user)).expect("writing a kubeconfig");
        }
        path
    }

    /// Runs kubectl as a user, with something on its standard input.
    pub async fn run(&self, user: &str, args: &[&str], stdin: &str) -> Said {
        let mut command = self.command(user);
        self.finish(command.args(args), stdin).await
    }

    /// A kubectl of a user, with pipes, not yet started.
    pub fn command(&self, user: &str) -> tokio::process::Command {
        let mut c = tokio::process::Command::new("kubectl");
        c.env("KUBECONFIG", self.kubeconfig(user))
            .env("HOME", self.dir.path())
            .env("KUBECACHEDIR", self.dir.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        c
    }

    /// Starts a command, feeds it, and waits for its end.
    pub async fn finish(&self, command: &mut tokio::process::Command, stdin: &str) -> Said {
        let mut child = command.spawn().expect("these tests need kubectl in PATH");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(stdin.as_bytes()).await.ok();
        drop(pipe);
        let done: Output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{command:?} did not end"))
            .expect("waiting for kubectl");
        Said {
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
            code: done.status.code().unwrap_or(-1),
        }
    }

    /// Runs kubectl as the administrator; it must succeed. Gives its output.
    pub async fn kubectl(&self, args: &str) -> String {
        self.feed(args, "").await
    }

    /// The same, with something on its standard input.
    pub async fn feed(&self, args: &str, stdin: &str) -> String {
        let said = self.run("admin", &args.split(' ').collect::<Vec<_>>(), stdin).await;
        assert_eq!(said.code, 0, "kubectl {args}\n{}\n{}", said.out, said.err);
        said.out
    }

    /// Runs kubectl as the administrator; it must fail. Gives what it complained of.
    pub async fn refused(&self, args: &str, stdin: &str) -> String {
        let said = self.run("admin", &args.split(' ').collect::<Vec<_>>(), stdin).await;
        assert_ne!(said.code, 0, "kubectl {args} should have failed\n{}", said.out);
        said.err
    }

    pub async fn client(&self) -> kube::Client {
        self.client_as("admin").await
    }

    pub async fn client_as(&self, user: &str) -> kube::Client {
        let yaml = self.control.kubeconfig(&self.url, user);
        let k = Kubeconfig::from_yaml(&yaml).expect("a kubeconfig kube-rs can read");
        let c = kube::Config::from_custom_kubeconfig(k, &KubeConfigOptions::default())
            .await
            .expect("a usable kubeconfig");
        kube::Client::try_from(c).expect("a client")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control.shutdown();
    }
}

/// Waits until `f` gives something; fails after ten seconds.
pub async fn until<T>(what: &str, mut f: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(t) = f().await {
            return t;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A table with runs of spaces made one and ages made `AGE`.
pub fn squeeze(table: &str) -> String {
    let age =
        |w: &str| w.len() > 1 && w.ends_with('s') && w[..w.len() - 1].chars().all(|c| c.is_ascii_digit());
    table
        .lines()
        .map(|l| l.split_whitespace().map(|w| if age(w) { "0s" } else { w }).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}
