//! How many connections a process can have open at all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::Limits;

/// What is kept for files and everything else that is no connection of the port.
const RESERVED: usize = 128;

/// Lets the process have as many descriptors as it may; how many those are. The usual limit of 1024 is for programs that know
/// no other way than `select`.
pub fn raise_descriptors() -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

impl Limits {
    /// With no more connections than so many descriptors are enough for.
    #[must_use]
    pub fn within(self, descriptors: usize) -> Self {
        let most = descriptors.saturating_sub(RESERVED).max(1);
        if most < self.connections {
            let wanted = self.connections;
            tracing::warn!(wanted, most, "fewer connections: the limit of open files is low");
        }
        Self { connections: self.connections.min(most), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_may_have_as_many_descriptors_as_anybody_lets_it() {
        let most = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit { current: Some(64), maximum: most };
        setrlimit(Resource::Nofile, low).unwrap();
        let raised = raise_descriptors();
        assert_eq!(getrlimit(Resource::Nofile).current, most);
        assert_eq!(raised, most.map_or(usize::MAX, |most| most as usize));
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let connections = |descriptors| Limits::default().within(descriptors).connections;
        assert_eq!([1024, 8192, 0].map(connections), [896, 4096, 1]);
    }
}
