//! The laboratory itself: what the other tests take for granted.

use sonde_tests::{Lab, TARGET4, TARGET6};

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_far_end_is_reached_by_the_systems_own_ping_over_every_router() {
    let lab = Lab::chain(5);
    for target in [TARGET4, TARGET6, "198.18.77.1", "2001:db8:1::77"] {
        let text = lab.shell("src", &format!("ping -n -c 1 -W 5 {target}"));
        assert!(text.contains("ttl=59"), "{text}");
    }
    for (number, router) in ["198.51.100.2", "198.51.100.6", "198.51.100.18"].iter().enumerate() {
        let ttl = [1, 2, 5][number];
        let text = lab.shell("src", &format!("ping -n -c 1 -W 5 -t {ttl} {TARGET4} || true"));
        assert!(text.contains(router), "{text}");
    }
}
