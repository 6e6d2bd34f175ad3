//! What the host's file says of the component: the section `[component]`, or the whole file in the form of the
//! reference implementation (RI).

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sonde_config::{Form, Mistake, Peers, Place, Program, Section, Table, registries, supervisors};
use sonde_mplane::Registries;
use sonde_mplane_http::{Access, SupervisorAddress, TlsFiles};
use sonde_spool::Options;

use super::{
    seed,
    settings::{Limits, Offering, Override},
};

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
    /// Names and types of elements.
    pub registries: Registries,
    /// What is there and does nothing here.
    pub ignored: Vec<String>,
}

/// The file cannot be used: all mistakes, with file, line and key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileError(pub Vec<Mistake>);

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for FileError {}

const KEYS: [&str; 17] = [
    "registry_uri",
    "registries",
    "label_prefix",
    "ip4addr",
    "ip6addr",
    "overrides",
    "spool",
    "spool_mebibytes",
    "specifications",
    "measurements",
    "repetitions",
    "remember_s",
    "listen",
    "immediate_ms",
    "supervisors",
    "tls",
    "roles",
];

impl Default for ComponentFile {
    /// What is not said: nobody to talk to, plain HTTP.
    fn default() -> Self {
        Self {
            offering: Offering {
                registry_uri: sonde_mplane::CORE_URI.to_owned(),
                ..Offering::default()
            },
            limits: Limits::default(),
            spool: PathBuf::from("spool"),
            spool_options: Options { cap_octets: 1024 << 20, ..Options::default() },
            supervisors: Vec::new(),
            listen: None,
            immediate: Duration::from_millis(5000),
            tls: None,
            access: Access::open(),
            registries: Registries::built_in(),
            ignored: Vec::new(),
        }
    }
}

impl ComponentFile {
    /// Reads a file in either form, and the variables of the environment that overlay it. In our form paths are
    /// relative to the folder of the file.
    ///
    /// # Errors
    ///
    /// [`FileError`] with every mistake.
    pub fn read(file: &Path, variables: &[(String, String)]) -> Result<Self, FileError> {
        let (read, mistakes) = Self::survey(file, variables);
        if mistakes.is_empty() { Ok(read) } else { Err(FileError(mistakes)) }
    }

    /// As [`ComponentFile::read`], with what can be used beside the mistakes.
    pub(super) fn survey(file: &Path, variables: &[(String, String)]) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let (form, table) =
            sonde_config::read(file, Program::Host, variables.iter().cloned(), &mut mistakes);
        let read = match form {
            Form::Toml => toml(file, &table, &mut mistakes),
            Form::Ini => seed::read(file, &table, &mut mistakes),
        };
        (read, mistakes)
    }
}

fn toml(file: &Path, table: &Table, mistakes: &mut Vec<Mistake>) -> ComponentFile {
    if !table.contains_key("component") {
        let problem = "is missing: the section [component] says for whom the host measures";
        mistakes.push(Mistake::new(&Place::file(file), "component", problem.to_owned()));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut top = Section::top(file, table, folder, mistakes);
    let mut section = top.section("component", &[&KEYS[..], &["authorizations"]].concat());
    let usual = ComponentFile::default();
    let offering = Offering {
        registry_uri: section.any_text("registry_uri").unwrap_or(usual.offering.registry_uri),
        label_prefix: section.any_text("label_prefix").unwrap_or_default(),
        ip4addr: section.parsed("ip4addr", "an IPv4 address"),
        ip6addr: section.parsed("ip6addr", "an IPv6 address"),
        overrides: overrides(&mut section),
    };
    let count = |section: &mut Section<'_, '_>, key: &str, usual: usize| {
        let read = section.whole(key, 1..=10_000_000);
        read.and_then(|number| usize::try_from(number).ok()).unwrap_or(usual)
    };
    let limits = Limits {
        specifications: count(&mut section, "specifications", usual.limits.specifications),
        measurements: count(&mut section, "measurements", usual.limits.measurements),
        repetitions: count(&mut section, "repetitions", usual.limits.repetitions),
        memory: section
            .whole("remember_s", 0..=31_536_000)
            .map_or(usual.limits.memory, Duration::from_secs),
    };
    let mebibytes = section.whole("spool_mebibytes", 1..=1 << 20).unwrap_or(1024);
    let immediate = section.whole("immediate_ms", 0..=20_000);
    let peers = Peers::read(Form::Toml, &mut section, &[]);
    ComponentFile {
        offering,
        limits,
        spool: section.path("spool").unwrap_or_else(|| folder.join(usual.spool)),
        spool_options: Options { cap_octets: mebibytes << 20, ..usual.spool_options },
        supervisors: supervisors(&mut section),
        listen: section.parsed("listen", "ADDRESS:PORT, as 192.0.2.1:1228 or [::]:1228"),
        immediate: immediate.map_or(usual.immediate, Duration::from_millis),
        tls: peers.tls,
        access: peers.access,
        registries: registries(&mut section, "registries"),
        ignored: Vec::new(),
    }
}

fn overrides(section: &mut Section<'_, '_>) -> BTreeMap<String, BTreeMap<String, Override>> {
    let mut methods = section.section("overrides", &[]);
    let mut all = BTreeMap::new();
    for method in methods.names() {
        let mut elements = methods.section(&method, &[]);
        let mut said = BTreeMap::new();
        for element in elements.names() {
            let mut one = elements.section(&element, &["constraint", "default"]);
            let constraint = one.any_text("constraint");
            let default = one.any_text("default");
            let place = elements.get(&element).map(|item| item.place.to_string());
            let place = place.unwrap_or_default();
            said.insert(element, Override { constraint, default, place });
        }
        all.insert(method, said);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn parse(text: &str) -> Result<ComponentFile, String> {
        parse_with(text, &[])
    }

    /// Mistakes without the folder's name.
    fn parse_with(text: &str, variables: &[(String, String)]) -> Result<ComponentFile, String> {
        let folder = tempfile::tempdir().unwrap();
        for file in ["host.crt", "host.key", "root-ca.crt"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let elements = r#"{"registry-format": "mplane-0", "registry-revision": 1,
            "registry-uri": "http://example.net/r",
            "elements": [{"name": "weather", "prim": "string"}]}"#;
        std::fs::write(folder.path().join("elements.json"), elements).unwrap();
        let file = folder.path().join("host.toml");
        std::fs::write(&file, text).unwrap();
        let folder = format!("{}/", folder.path().display());
        match ComponentFile::read(&file, variables) {
            Ok(mut said) => {
                let spool = said.spool.display().to_string();
                said.spool = PathBuf::from(spool.replace(&folder, "/etc/sonde/"));
                Ok(said)
            }
            Err(error) => Err(error.to_string().replace(&folder, "")),
        }
    }

    #[test]
    fn what_is_not_said_has_its_default_and_paths_begin_at_the_file() {
        let file = parse(
            "[host]\nisolation = 'process'\n[component]\nip4addr = '1.2.3.4'\n\
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
        assert_eq!(file.offering.overrides["ping"].len(), 4);
    }

    #[test]
    fn mistakes_are_told_with_file_line_key_and_what_is_accepted() {
        let url = |url: &str| {
            format!("[component]\n[[component.supervisors]]\nname = 'a'\nurl = '{url}'")
        };
        let two = "[component]\n[[component.supervisors]]\nname = 'a'\nurl = 'http://h'\n\
                   [[component.supervisors]]\nname = 'a'\npoll_s = 0\n";
        for (text, expected) in [
            ("[component]\nregistry_url = ''", "host.toml:2: component.registry_url: unknown key"),
            ("[component]\nregistry_url = ''", "did you mean registry_uri?"),
            ("[component]\nimmediate_ms = 60000", "host.toml:2: component.immediate_ms: is 60000"),
            ("[host]", "host.toml: component: is missing"),
            (
                "[component]\n[[component.supervisors]]\nname = '../up'\nurl = 'http://h'",
                "host.toml:3: component.supervisors.name: is \"../up\", accepted: at most",
            ),
            (
                &url("ftp://x"),
                "host.toml:4: component.supervisors.url: is \"ftp://x\", accepted: http",
            ),
            (&url("https://x"), "http://HOST:PORT, or https://HOST:PORT with a section tls"),
            (&url("http://h:99999"), "component.supervisors.url: is \"http://h:99999\""),
            (&url("http://h?x=1"), "component.supervisors.url: is \"http://h?x=1\""),
            (two, "host.toml:6: component.supervisors.name: is \"a\""),
            (two, "host.toml:5: component.supervisors.url: is missing"),
            (two, "host.toml:7: component.supervisors.poll_s: is 0"),
            ("[component]\nip4addr = '::1'", "host.toml:2: component.ip4addr: is \"::1\""),
            ("[component]\nsupervisors = 'a'", "accepted: tables, [[component.supervisors]]"),
            (
                "[component.overrides.ping.'a.b']\nconstrain = '1'",
                "component.overrides.ping.a.b.constrain: unknown key",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{expected}\n{error}");
        }
    }

    #[test]
    fn registries_of_the_operator_are_loaded_beside_the_built_in_one() {
        let said = parse("[component]\nregistries = ['elements.json']\n").unwrap();
        assert!(said.registries.accepts("http://example.net/r"));
        assert!(said.registries.element("weather").is_some());
        let error = parse("[component]\nregistries = ['host.crt']\n").unwrap_err();
        assert!(error.starts_with("host.toml:2: component.registries: host.crt: "), "{error}");
    }

    #[test]
    fn a_variable_of_the_environment_has_the_last_word() {
        let variables = [("SONDE_COMPONENT__LISTEN".to_owned(), "127.0.0.1:7".to_owned())];
        let file = parse_with("[component]\nlisten = '[::]:8'\n", &variables).unwrap();
        assert_eq!(file.listen.unwrap().to_string(), "127.0.0.1:7");
    }
}
