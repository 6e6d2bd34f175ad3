//! Tells the crate which compiler builds it: a plugin reports it to the host.
use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc)
        .arg("-V")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=SONDE_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
