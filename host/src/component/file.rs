//! The section `[component]` of the host's file.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use sonde_mplane_http::{Access, TlsFiles};
use sonde_spool::Options;

use super::settings::{Limits, Offering, Override, SupervisorAddress};

/// Everything that an operator says about the component.
#[derive(Clone, Debug)]
pub struct ComponentFile {
    /// How methods are offered.
    pub offering: Offering,
    /// How much work is taken on.
    pub limits: Limits,
    /// Where results are kept.
    pub spool: PathBuf,
    /// How much room they may take, for each supervisor.
    pub spool_options: Options,
    /// Where to register.
    pub supervisors: Vec<SupervisorAddress>,
    /// Where clients may connect to.
    pub listen: Option<SocketAddr>,
    /// How long a client's specification is held for an immediate answer.
    pub immediate: Duration,
    /// TLS, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Who may use what; everything is open without TLS.
    pub access: Access,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {cause}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The kernel's reason.
        cause: std::io::Error,
    },
    /// It is not TOML, or a key has another form; the text has line and key.
    #[error("{}: {cause}", file.display())]
    Form {
        /// Which file.
        file: PathBuf,
        /// With line and key.
        cause: Box<toml::de::Error>,
    },
    /// A value means nothing.
    #[error("{}: component.{key} is {value:?}, accepted: {accepted}", file.display())]
    Value {
        /// Which file.
        file: PathBuf,
        /// Which key.
        key: String,
        /// As written.
        value: String,
        /// What can stand there.
        accepted: &'static str,
    },
}

/// Other sections belong to others.
#[derive(Deserialize)]
struct Document {
    component: Section,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    registry_uri: String,
    label_prefix: String,
    ip4addr: Option<Ipv4Addr>,
    ip6addr: Option<Ipv6Addr>,
    overrides: BTreeMap<String, BTreeMap<String, ParameterSection>>,
    spool: PathBuf,
    spool_mebibytes: u64,
    specifications: usize,
    measurements: usize,
    repetitions: usize,
    remember_s: u64,
    listen: Option<SocketAddr>,
    immediate_ms: u64,
    supervisors: Vec<SupervisorSection>,
    tls: Option<TlsSection>,
    roles: BTreeMap<String, Vec<String>>,
    authorizations: BTreeMap<String, Vec<String>>,
}

impl Default for Section {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            registry_uri: sonde_mplane::CORE_URI.to_owned(),
            label_prefix: String::new(),
            ip4addr: None,
            ip6addr: None,
            overrides: BTreeMap::new(),
            spool: PathBuf::from("spool"),
            spool_mebibytes: 1024,
            specifications: limits.specifications,
            measurements: limits.measurements,
            repetitions: limits.repetitions,
            remember_s: limits.memory.as_secs(),
            listen: None,
            immediate_ms: 5000,
            supervisors: Vec::new(),
            tls: None,
            roles: BTreeMap::new(),
            authorizations: BTreeMap::new(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ParameterSection {
    constraint: Option<String>,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SupervisorSection {
    name: String,
    url: String,
    #[serde(default = "registration_path")]
    registration_path: String,
    #[serde(default = "specification_path")]
    specification_path: String,
    #[serde(default = "result_path")]
    result_path: String,
    #[serde(default = "poll_s")]
    poll_s: u64,
}

fn registration_path() -> String {
    "/register/capability".to_owned()
}

fn specification_path() -> String {
    "/show/specification".to_owned()
}

fn result_path() -> String {
    "/register/result".to_owned()
}

fn poll_s() -> u64 {
    5
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl ComponentFile {
    /// Reads the section. Paths are relative to the folder of the file.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file, and line or key.
    pub fn read(file: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(file)
            .map_err(|cause| FileError::Read { file: file.to_owned(), cause })?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, FileError> {
        let document: Document = toml::from_str(text)
            .map_err(|cause| FileError::Form { file: file.to_owned(), cause: Box::new(cause) })?;
        let section = document.component;
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        let value = |key: &str, value: &str, accepted| FileError::Value {
            file: file.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            accepted,
        };
        let mut supervisors: Vec<SupervisorAddress> = Vec::new();
        for said in section.supervisors {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            let usable = !said.name.starts_with('.') && said.name != "clients";
            if said.name.is_empty() || !said.name.chars().all(is_plain) || !usable {
                let accepted = "letters, digits, - _ . (the name of a folder), not clients";
                return Err(value("supervisors.name", &said.name, accepted));
            }
            if supervisors.iter().any(|other| *other.name == *said.name) {
                return Err(value("supervisors.name", &said.name, "each name once"));
            }
            if !(1..=3600).contains(&said.poll_s) {
                let poll = said.poll_s.to_string();
                return Err(value("supervisors.poll_s", &poll, "1 ... 3600"));
            }
            let base = said.url.trim_end_matches('/');
            let url = |path: &str| format!("{base}/{}", path.trim_start_matches('/'));
            supervisors.push(SupervisorAddress {
                name: Arc::from(said.name.as_str()),
                registration: url(&said.registration_path),
                specification: url(&said.specification_path),
                result: url(&said.result_path),
                poll: Duration::from_secs(said.poll_s),
            });
        }
        if section.immediate_ms > 20_000 {
            let immediate = section.immediate_ms.to_string();
            return Err(value("immediate_ms", &immediate, "0 ... 20000"));
        }
        if !(1..=1 << 20).contains(&section.spool_mebibytes) {
            let size = section.spool_mebibytes.to_string();
            return Err(value("spool_mebibytes", &size, "1 ... 1048576"));
        }
        let overrides = section.overrides.into_iter().map(|(method, parameters)| {
            let said = parameters.into_iter().map(|(element, said)| {
                (element, Override { constraint: said.constraint, default: said.default })
            });
            (method, said.collect())
        });
        let mut access = if section.tls.is_some() { Access::closed() } else { Access::open() };
        for (identity, roles) in &section.roles {
            access = access.role(identity, &roles.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for (label, roles) in &section.authorizations {
            access = access.authorize(label, &roles.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Ok(Self {
            offering: Offering {
                registry_uri: section.registry_uri,
                label_prefix: section.label_prefix,
                ip4addr: section.ip4addr,
                ip6addr: section.ip6addr,
                overrides: overrides.collect(),
            },
            limits: Limits {
                specifications: section.specifications,
                measurements: section.measurements.max(1),
                repetitions: section.repetitions,
                memory: Duration::from_secs(section.remember_s),
            },
            spool: folder.join(section.spool),
            spool_options: Options {
                cap_octets: section.spool_mebibytes << 20,
                ..Options::default()
            },
            supervisors,
            listen: section.listen,
            immediate: Duration::from_millis(section.immediate_ms),
            tls: section.tls.map(|tls| TlsFiles {
                certificate: folder.join(tls.certificate),
                key: folder.join(tls.key),
                authority: folder.join(tls.authority),
            }),
            access,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ComponentFile, String> {
        ComponentFile::parse(Path::new("/etc/sonde/host.toml"), text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_its_default_and_paths_begin_at_the_file() {
        let file = parse(
            "[host]\nanything = 1\n[component]\nip4addr = '1.2.3.4'\n\
             [[component.supervisors]]\nname = 'top'\nurl = 'http://127.0.0.1:8889/'\n",
        )
        .unwrap();
        assert_eq!(file.spool, Path::new("/etc/sonde/spool"));
        assert_eq!(file.offering.ip4addr, Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(file.supervisors[0].registration, "http://127.0.0.1:8889/register/capability");
        assert_eq!(file.supervisors[0].poll, Duration::from_secs(5));
    }

    #[test]
    fn the_sample_says_the_defaults_and_its_examples_can_be_used() {
        let sample = include_str!("../../../conf/host.toml");
        let (said, silent) = (parse(sample).unwrap(), parse("[component]").unwrap());
        assert_eq!(format!("{said:?}"), format!("{silent:?}"));
        // Examples are the lines in comments that are TOML.
        let is_toml = |line: &str| line.starts_with('[') || line.contains(" = ");
        let (_, section) = sample.split_once("[component]").unwrap();
        let examples = section.lines().map(|line| match line.strip_prefix("# ") {
            Some(example) if is_toml(example) => example,
            Some(_) => "",
            None => line,
        });
        let text = format!("[component]{}", examples.collect::<Vec<_>>().join("\n"));
        let file = parse(&text).unwrap();
        assert_eq!(file.supervisors.len(), 1);
        assert!(file.tls.is_some() && file.listen.is_some());
        assert_eq!(file.offering.overrides["ping"].len(), 2);
    }

    #[test]
    fn mistakes_are_told_with_file_and_key() {
        for (text, part) in [
            ("[component]\nregistry_url = ''", "unknown field `registry_url`"),
            ("[component]\nimmediate_ms = 60000", "component.immediate_ms is \"60000\""),
            ("[host]", "missing field `component`"),
            (
                "[component]\n[[component.supervisors]]\nname = '../up'\nurl = 'http://h'",
                "component.supervisors.name is \"../up\"",
            ),
            ("[component]\nip4addr = '::1'", "line 2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("/etc/sonde/host.toml: ") && error.contains(part), "{error}");
        }
    }
}
