//! The smallest program that can be started as a worker; the tests of this crate use it.

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == "worker" => sonde_worker::worker_main(arguments),
        _ => eprintln!("usage: worker NAME, by a host"),
    }
}
