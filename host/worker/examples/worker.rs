//! The smallest program that can be started as a worker, and the smallest host that starts one; the
//! tests of this crate use both.

use sonde_worker::{ProcessPort, Spawn};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    match command.to_str() {
        Some("worker") => sonde_worker::worker_main(arguments),
        Some("host") => host(arguments),
        _ => eprintln!("usage: host PLUGIN STORE"),
    }
}

/// Starts a worker, prints its process and waits for its own end.
fn host(mut arguments: impl Iterator<Item = std::ffi::OsString>) {
    let mut path = || arguments.next().unwrap_or_default().into();
    let (plugin, store) = (path(), path());
    let program = "/proc/self/exe".into();
    let spawn = Spawn { program, plugin, store, name: "example".into(), ..Spawn::default() };
    match ProcessPort::spawn(spawn) {
        Ok(port) => {
            println!("{}", port.worker_id().unwrap_or_default());
            loop {
                std::thread::park();
            }
        }
        Err(lost) => eprintln!("{lost}"),
    }
}
