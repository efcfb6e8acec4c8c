//! Builds the BPF object from `datapath/programs` and leaves it in OUT_DIR for `object.rs` to embed.
//!
//! Order of preference: the file named by PLEOPOD_BPF_OBJECT; a build from source with bpf-linker and rust-src; a stub, so that
//! `cargo check` and clippy work on a machine without the BPF toolchain (loading it is then a clear error at run time).

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const OBJECT: &str = "pleopod.o";
const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "pleopod-datapath-programs";
const BINARY: &str = "pleopod-datapath";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(pleopod_bpf_stub)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PLEOPOD_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=PATH");
    let out = PathBuf::from(env::var("OUT_DIR")?).join(OBJECT);
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    for room in ["abi", "datapath/logic", "datapath/programs"] {
        for part in ["src", "Cargo.toml"] {
            println!("cargo::rerun-if-changed={}", root.join(room).join(part).display());
        }
    }

    if let Some(given) = env::var_os("PLEOPOD_BPF_OBJECT") {
        println!("cargo::rerun-if-changed={}", Path::new(&given).display());
        fs::copy(&given, &out)
            .map_err(|e| format!("PLEOPOD_BPF_OBJECT={}: {e}", Path::new(&given).display()))?;
        return Ok(());
    }
    if let Some(missing) = missing_tool()? {
        println!("cargo::warning={missing}; embedding a stub, programs cannot be loaded");
        println!("cargo::rustc-cfg=pleopod_bpf_stub");
        fs::write(&out, [])?;
        return Ok(());
    }
    let built = build(&root)?;
    fs::copy(&built, &out).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(())
}

/// What is not there of the BPF toolchain.
fn missing_tool() -> Result<Option<String>, Box<dyn Error>> {
    let linker = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join("bpf-linker").is_file()));
    if !linker {
        return Ok(Some("bpf-linker is not in PATH (cargo xtask setup installs it)".into()));
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output()?;
    let core = Path::new(String::from_utf8(sysroot.stdout)?.trim())
        .join("lib/rustlib/src/rust/library/core/src/lib.rs");
    println!("cargo::rerun-if-changed={}", core.display());
    Ok((!core.is_file()).then(|| "rust-src is not installed (rustup component add rust-src)".into()))
}

/// Runs the nested cargo. It has a target directory of its own, so it never waits for the lock of the outer one.
fn build(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // OUT_DIR is <target>/[<triple>/]<profile>/build/<package>-<hash>/out.
    let target_dir =
        out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap_or(&out_dir).join("bpf");
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Ctarget-cpu=v3".to_owned(),
    ];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (key, _) in env::vars_os() {
        if key.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(&key);
        }
    }
    let status = cargo
        .current_dir(root)
        .args(["build", "--release", "-Zbuild-std=core", "--target", TARGET, "--package", PACKAGE])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .status()
        .map_err(|e| format!("cannot run the nested cargo: {e}"))?;
    if !status.success() {
        return Err(format!("the BPF object does not build: nested cargo ended with {status}").into());
    }
    Ok(target_dir.join(TARGET).join("release").join(BINARY))
}

/// Variables by which the outer cargo (or clippy) would steer the nested one.
fn is_of_the_outer_build(key: &str) -> bool {
    const KEEP: [&str; 6] =
        ["CARGO_HOME", "CARGO_HTTP", "CARGO_NET", "CARGO_REGISTR", "CARGO_SOURCE", "CARGO_TERM"];
    const DROP: [&str; 11] = [
        "CARGO",
        "RUSTFLAGS",
        "RUSTC",
        "RUSTDOC",
        "CLIPPY",
        "MAKEFLAGS",
        "PROFILE",
        "OPT_LEVEL",
        "OUT_DIR",
        "TARGET",
        "DEBUG",
    ];
    DROP.iter().any(|p| key.starts_with(p)) && !KEEP.iter().any(|p| key.starts_with(p))
}
