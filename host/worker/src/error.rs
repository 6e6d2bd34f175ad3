//! Why a plugin is refused, in one line each, and how that line comes out of a jailed child.

use std::fmt;

/// Longest text of foreign origin in a message, in characters.
const MAX_TEXT: usize = 400;

/// Why a plugin was not loaded. The operator reads it behind the name of the file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The directory for private copies cannot be used.
    #[error("cannot be copied to the plugin store: {0}")]
    Store(String),
    /// Not an ELF file for this machine, or not all of it.
    #[error("is not a shared library: {0}")]
    NotALibrary(String),
    /// A shared library, but `dlopen` or the symbol fails.
    #[error("is not a sonde plugin: {0}")]
    NotAPlugin(String),
    /// The library that checks the interface differs itself.
    #[error("was built with another abi_stable: {0}")]
    OtherAbiStable(String),
    /// Equal major version, and a minor version no newer than the host's, is what loads.
    #[error("was built for plugin-api {plugin}, this host speaks {host}: {}", remedy(.plugin, .host))]
    ApiVersion {
        /// What the plugin was built with.
        plugin: String,
        /// What this host has.
        host: String,
    },
    /// The version fits, the types do not: a changed copy of plugin-api.
    #[error("was built with a plugin-api that differs from the published one: {0}")]
    Layout(String),
    /// A panic in it would end the process that it runs in.
    #[error(
        "was compiled with panic=abort, so a bug in it would end the host: rebuild it with \
         panic=unwind, or run it in a process of its own"
    )]
    Aborts,
    /// Its own code failed while it was set up.
    #[error("failed to initialise: {0}")]
    Start(String),
    /// What it says of itself cannot be used.
    #[error("has no usable descriptor: {0}")]
    Descriptor(String),
    /// The jailed child died while it looked at the plugin.
    #[error("could not be examined: {0}")]
    Worker(String),
    /// The jailed child did not come to an end, within that time.
    #[error("could not be examined: it was not ready after {0}")]
    Slow(String),
}

fn remedy(plugin: &str, host: &str) -> &'static str {
    match (parse_version(plugin), parse_version(host)) {
        (Some(plugin), Some(host)) if plugin > host => "update the host",
        _ => "rebuild the plugin",
    }
}

/// Major and minor of a version such as `1.2.3` or `1.2.3-rc.1`.
pub(crate) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    parts.next().map(|_patch| (major, minor))
}

impl LoadError {
    /// As one line for another process; [`LoadError::from_line`] reads it.
    pub(crate) fn to_line(&self) -> String {
        let (tag, text) = match self {
            Self::Unreadable(text) => ("unreadable", text.as_str()),
            Self::Store(text) => ("store", text.as_str()),
            Self::NotALibrary(text) => ("library", text.as_str()),
            Self::NotAPlugin(text) => ("plugin", text.as_str()),
            Self::OtherAbiStable(text) => ("abi_stable", text.as_str()),
            Self::ApiVersion { plugin, host } => {
                return format!("version\t{}\t{}", one_line(plugin), one_line(host));
            }
            Self::Layout(text) => ("layout", text.as_str()),
            Self::Aborts => ("aborts", ""),
            Self::Start(text) => ("start", text.as_str()),
            Self::Descriptor(text) => ("descriptor", text.as_str()),
            Self::Worker(text) => ("worker", text.as_str()),
            Self::Slow(text) => ("slow", text.as_str()),
        };
        format!("{tag}\t{}", one_line(text))
    }

    /// The reverse of [`LoadError::to_line`], for a line that a plugin may have forged.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (tag, text) = line.split_once('\t')?;
        let owned = || one_line(text);
        Some(match tag {
            "unreadable" => Self::Unreadable(owned()),
            "store" => Self::Store(owned()),
            "library" => Self::NotALibrary(owned()),
            "plugin" => Self::NotAPlugin(owned()),
            "abi_stable" => Self::OtherAbiStable(owned()),
            "version" => {
                let (plugin, host) = text.split_once('\t')?;
                Self::ApiVersion { plugin: one_line(plugin), host: one_line(host) }
            }
            "layout" => Self::Layout(owned()),
            "aborts" => Self::Aborts,
            "start" => Self::Start(owned()),
            "descriptor" => Self::Descriptor(owned()),
            "worker" => Self::Worker(owned()),
            "slow" => Self::Slow(owned()),
            _ => return None,
        })
    }
}

/// Foreign text fit for one line of a log: no control characters, no runs of blanks, not too long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut blank = false;
    for (count, character) in text.trim().chars().enumerate() {
        if count == MAX_TEXT {
            line.push('…');
            break;
        }
        if character.is_control() || character.is_whitespace() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) {
            line.push(' ');
        }
        line.push(character);
    }
    line
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    one_line(&text)
}

/// A number of octets as an operator writes it.
pub(crate) struct Octets(pub(crate) u64);

impl fmt::Display for Octets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            octets if octets >= 1 << 20 => write!(formatter, "{} MiB", octets >> 20),
            octets if octets >= 1 << 10 => write!(formatter, "{} KiB", octets >> 10),
            octets => write!(formatter, "{octets} octets"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_way_out_of_the_child() {
        let text = "x: y".to_owned();
        for error in [
            LoadError::Unreadable(text.clone()),
            LoadError::Store(text.clone()),
            LoadError::NotALibrary(text.clone()),
            LoadError::NotAPlugin(text.clone()),
            LoadError::OtherAbiStable(text.clone()),
            LoadError::ApiVersion { plugin: "2.0.0".into(), host: "1.0.0".into() },
            LoadError::Layout(text.clone()),
            LoadError::Aborts,
            LoadError::Start(text.clone()),
            LoadError::Descriptor(text.clone()),
            LoadError::Worker(text.clone()),
            LoadError::Slow(text),
        ] {
            assert_eq!(LoadError::from_line(&error.to_line()), Some(error));
        }
        assert_eq!(LoadError::from_line("nonsense"), None);
        assert_eq!(LoadError::from_line("version\tx"), None);
    }

    #[test]
    fn version_error_says_who_has_to_move() {
        let error = |plugin: &str| {
            LoadError::ApiVersion { plugin: plugin.into(), host: "1.2.0".into() }.to_string()
        };
        assert!(error("1.3.0").ends_with("update the host"));
        assert!(error("2.0.0").ends_with("update the host"));
        assert!(error("0.9.1").ends_with("rebuild the plugin"));
        assert!(error("x").ends_with("rebuild the plugin"));
    }

    #[test]
    fn foreign_text_becomes_one_bounded_line() {
        assert_eq!(one_line("  a\n\tb\u{1b}[31m c "), "a b [31m c");
        assert_eq!(one_line(&"é".repeat(5000)).chars().count(), MAX_TEXT + 1);
    }
}
