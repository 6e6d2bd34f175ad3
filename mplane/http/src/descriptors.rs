//! How many connections a process can have open at all.

use rustix::process::{Resource, getrlimit};

use crate::limits::Limits;

/// What is kept for files and everything else that is no connection of the port.
const RESERVED: usize = 128;

/// How many descriptors the process may have.
#[must_use]
pub fn most_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
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
    fn connections_leave_descriptors_for_the_rest() {
        let connections = |descriptors| Limits::default().within(descriptors).connections;
        assert_eq!([1024, 8192, 0].map(connections), [896, 4096, 1]);
    }
}
