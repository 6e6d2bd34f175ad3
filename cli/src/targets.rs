//! Whom to measure: addresses and names from the command line or a list, one after the other.
//!
//! A list may have millions of lines, so it is read as it is needed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, ToSocketAddrs},
    path::PathBuf,
};

/// Which family a name is resolved to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Wanted {
    /// The first address that the resolver gives.
    #[default]
    Any,
    /// `-4`.
    V4,
    /// `-6`.
    V6,
}

/// A target that cannot be measured, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The list cannot be read.
    #[error("{file}: {cause}")]
    List {
        /// As given.
        file: String,
        /// Why not.
        cause: io::Error,
    },
    /// The name is not known.
    #[error("{name}: {cause}")]
    Name {
        /// As given.
        name: String,
        /// The resolver's words.
        cause: io::Error,
    },
    /// There is an address, but of the other family.
    #[error("{name} has no {family} address")]
    Family {
        /// As given.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
}

/// A host to be measured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// As the user wrote it.
    pub(crate) name: String,
    /// What it stands for.
    pub(crate) address: IpAddr,
}

/// All targets in order: those of the command line, then those of the list.
pub(crate) struct Targets {
    named: std::vec::IntoIter<String>,
    list: Option<(String, Box<dyn BufRead>)>,
    wanted: Wanted,
    /// The line being read; kept for its memory.
    line: String,
}

impl Targets {
    /// `list` is a file, `-` for standard input.
    pub(crate) fn open(
        named: Vec<String>,
        list: Option<PathBuf>,
        wanted: Wanted,
    ) -> Result<Self, TargetError> {
        let list = match list {
            None => None,
            Some(file) if file.as_os_str() == "-" => {
                let reader: Box<dyn BufRead> = Box::new(BufReader::new(io::stdin()));
                Some(("standard input".to_owned(), reader))
            }
            Some(file) => {
                let name = file.display().to_string();
                let opened = File::open(file);
                let opened =
                    opened.map_err(|cause| TargetError::List { file: name.clone(), cause })?;
                let reader: Box<dyn BufRead> = Box::new(BufReader::new(opened));
                Some((name, reader))
            }
        };
        Ok(Self { named: named.into_iter(), list, wanted, line: String::new() })
    }

    /// The next line of the list that holds a target; `#` begins a comment.
    fn next_of_list(&mut self) -> Option<Result<String, TargetError>> {
        let (file, reader) = self.list.as_mut()?;
        let line = &mut self.line;
        loop {
            line.clear();
            match reader.read_line(line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(cause) => {
                    let file = file.clone();
                    self.list = None;
                    return Some(Err(TargetError::List { file, cause }));
                }
            }
            let target = line.split('#').next().unwrap_or_default().trim();
            if !target.is_empty() {
                return Some(Ok(target.to_owned()));
            }
        }
    }
}

impl Iterator for Targets {
    type Item = Result<Target, TargetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = match self.named.next() {
            Some(name) => name,
            None => match self.next_of_list()? {
                Ok(name) => name,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(resolve(name, self.wanted))
    }
}

fn resolve(name: String, wanted: Wanted) -> Result<Target, TargetError> {
    let fits = |address: &IpAddr| match wanted {
        Wanted::Any => true,
        Wanted::V4 => address.is_ipv4(),
        Wanted::V6 => address.is_ipv6(),
    };
    // Brackets as in URLs are what people paste.
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<IpAddr> = match bare.parse() {
        Ok(address) if fits(&address) => return Ok(Target { name, address }),
        Ok(_) => Vec::new(),
        Err(_) => (bare, 0)
            .to_socket_addrs()
            .map_err(|cause| TargetError::Name { name: name.clone(), cause })?
            .map(|address| address.ip())
            .collect(),
    };
    match addresses.into_iter().find(fits) {
        Some(address) => Ok(Target { name, address }),
        None => {
            let family = if wanted == Wanted::V4 { "IPv4" } else { "IPv6" };
            Err(TargetError::Family { name, family })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &str, wanted: Wanted) -> Vec<Result<String, String>> {
        let reader: Box<dyn BufRead> = Box::new(io::Cursor::new(lines.to_owned()));
        let list = Some(("list".to_owned(), reader));
        let named = vec!["127.0.0.1".to_owned()].into_iter();
        let targets = Targets { named, list, wanted, line: String::new() };
        let text = |target: Result<Target, TargetError>| {
            target.map(|target| target.address.to_string()).map_err(|error| error.to_string())
        };
        targets.map(text).collect()
    }

    #[test]
    fn a_list_may_hold_comments_and_empty_lines() {
        let lines = "# routers\n\n192.0.2.1 # first\n[2001:db8::1]\n";
        let addresses: Vec<_> = all(lines, Wanted::Any).into_iter().flatten().collect();
        assert_eq!(addresses, ["127.0.0.1", "192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn an_address_of_the_other_family_is_named() {
        let found = all("2001:db8::1\n", Wanted::V4);
        assert_eq!(found[1], Err("2001:db8::1 has no IPv4 address".to_owned()));
    }
}
