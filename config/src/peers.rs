//! What every file says of peers: our certificate, roles of identities, roles of capabilities.
//!
//! Without certificates all is open, since nobody can be told apart. With them what is not granted is denied.
//! In the INI form the RI's rules hold: a key of `[Authorizations]` need only occur in a label, the last such key
//! counts, roles keep their blanks.

use std::path::Path;

use serde_json::Value as Json;
use sonde_mplane_http::{Access, TlsFiles};

use crate::{Data, Form, Section};

/// What a file says of peers.
#[derive(Clone, Debug)]
pub struct Peers {
    /// TLS, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Who may use and register what.
    pub access: Access,
}

impl Peers {
    /// The sections that it reads, in the document's form.
    #[must_use]
    pub fn sections(form: Form) -> &'static [&'static str] {
        match form {
            Form::Toml => &["tls", "roles", "authorizations"],
            Form::Ini => &["TLS", "Roles", "Authorizations"],
        }
    }

    /// From the top of a document, or a section with these sections in it. `registers`: identities that may
    /// register capabilities with us, of a supervisor's TOML form.
    pub fn read(form: Form, top: &mut Section<'_, '_>, registers: &[String]) -> Self {
        let [tls, roles, authorizations] = *Self::sections(form) else {
            unreachable!("there are three")
        };
        let names = match form {
            Form::Toml => ["certificate", "key", "authority"],
            Form::Ini => ["cert", "key", "ca-chain"],
        };
        let tls = files(top, tls, names);
        let roles = lists(form, top, roles);
        let authorizations = lists(form, top, authorizations);
        let access = match (&tls, form) {
            (None, _) if roles.is_empty() && authorizations.is_empty() => Access::open(),
            (None, _) => Access::void(),
            (Some(_), Form::Ini) => {
                let pair = |(name, list): &(String, Vec<String>)| (name.clone(), list.join(","));
                let roles: Vec<_> = roles.iter().map(pair).collect();
                let authorizations: Vec<_> = authorizations.iter().map(pair).collect();
                Access::seed(borrowed(&roles), borrowed(&authorizations))
            }
            (Some(_), Form::Toml) => {
                let mut access = Access::closed();
                for (identity, list) in &roles {
                    let list: Vec<&str> = list.iter().map(String::as_str).collect();
                    access = access.role(identity, &list);
                }
                for (label, list) in &authorizations {
                    let list: Vec<&str> = list.iter().map(String::as_str).collect();
                    access = access.authorize(label, &list);
                }
                registers.iter().fold(access, |access, identity| access.component(identity))
            }
        };
        Self { tls, access }
    }
}

fn borrowed(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().map(|(name, list)| (name.as_str(), list.as_str()))
}

/// The certificate's section; what it names must be files, so that a start fails early.
fn files(top: &mut Section<'_, '_>, name: &str, keys: [&str; 3]) -> Option<TlsFiles> {
    top.get(name)?;
    let mut section = top.section(name, &keys);
    let [certificate, key, authority] = keys.map(|key| {
        let read = section.path(key);
        let file = section.require(key, read, "a PEM file")?;
        if !file.is_file() {
            section.refuse(key, &format!("a file that is there ({} is not)", shown(&file)));
        }
        Some(file)
    });
    Some(TlsFiles { certificate: certificate?, key: key?, authority: authority? })
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

/// Names with roles, in the order of the file.
fn lists(form: Form, top: &mut Section<'_, '_>, name: &str) -> Vec<(String, Vec<String>)> {
    let mut section = top.section(name, &[]);
    let mut lists = Vec::new();
    for name in section.names() {
        let list = match form {
            Form::Toml => section.texts(&name),
            // Not stripped, as in the RI: what has a blank is another role, and a warning.
            Form::Ini => section.value(&name, "ROLE,ROLE", |data| match data {
                Data::Scalar(Json::String(text)) => {
                    Some(text.split(',').map(str::to_owned).collect())
                }
                _ => None,
            }),
        };
        lists.extend(list.map(|list| (name, list)));
    }
    lists
}

#[cfg(test)]
mod tests {
    use sonde_mplane_http::Identity;

    use std::path::Path;

    use super::*;
    use crate::{Mistake, Program, read};

    /// Peers of a file with this name and text, and the mistakes.
    fn said(name: &str, text: &str) -> (Peers, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.crt", "a.key", "ca.crt"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let mut mistakes = Vec::new();
        let (form, table) = read(&file, Program::Host, std::iter::empty(), &mut mistakes);
        let mut top = Section::top(&file, &table, folder.path(), &mut mistakes);
        let peers = Peers::read(form, &mut top, &["org.*.Components.*".to_owned()]);
        let clean = |mistake: &Mistake| {
            mistake.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        (peers, mistakes.iter().map(clean).collect())
    }

    #[test]
    fn the_same_rights_are_said_in_both_forms_but_by_each_forms_rules() {
        let toml = "[tls]\ncertificate = 'a.crt'\nkey = 'a.key'\nauthority = 'ca.crt'\n\
                    [roles]\n'org.a.Clients.C' = ['guest']\n[authorizations]\n'ping*' = 'guest'\n";
        let ini = "[TLS]\ncert = a.crt\nkey: a.key\nca-chain = ca.crt\n\
                   [Roles]\norg.a.Clients.C = guest, admin\n[Authorizations]\nping = guest\n\
                   ping-detail = admin\n";
        let client = Identity::new("org.a.Clients.C");
        let (peers, mistakes) = said("a.toml", toml);
        assert_eq!(mistakes, [""; 0]);
        assert!(peers.tls.is_some() && peers.access.allows(&client, "ping-detail-ip4"));
        assert!(!peers.access.allows(&client, "scamper-ping"), "a glob means the whole label");
        assert!(!peers.access.allows(&Identity::new("org.a.clients.C"), "ping"), "case counts");
        assert!(peers.access.allows_component(&Identity::new("org.a.Components.X")));
        assert!(!peers.access.allows_component(&client));
        let (peers, mistakes) = said("scamper.conf", ini);
        assert_eq!(mistakes, [""; 0]);
        assert!(peers.access.allows(&client, "scamper-ping-average"), "a part of the label");
        assert!(!peers.access.allows(&client, "ping-detail"), "the last entry, and a blank");
    }

    #[test]
    fn without_certificates_all_is_open_and_half_a_section_is_refused() {
        let (peers, mistakes) = said("a.toml", "[roles]\na = 7\n");
        assert_eq!(mistakes, ["a.toml:2: roles.a: is 7, accepted: a list of texts, [\"…\"]"]);
        assert!(peers.access.allows(&Identity::new("x"), "y"));
        for (text, is_void) in [("", false), ("[roles]\na = ['b']\n", true)] {
            let warnings = said("a.toml", text).0.access.warnings(&[]);
            let expected = "roles and authorizations do not count without tls";
            assert_eq!(warnings.iter().any(|it| it.starts_with(expected)), is_void, "{warnings:?}");
        }
        let (peers, mistakes) =
            said("a.toml", "[tls]\ncertificate = 'a.crt'\nkey = 'b.key'\ncert = 1\n");
        assert!(peers.tls.is_none());
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with("a.toml:4: tls.cert: unknown key"), "{mistakes:?}");
        assert!(mistakes[1].contains("tls.key: is \"b.key\", accepted: a file that is there"));
        assert_eq!(mistakes[2], "a.toml:1: tls.authority: is missing, accepted: a PEM file");
    }

    #[test]
    fn a_file_is_read_in_the_form_that_it_has() {
        for (name, text, expected) in [
            ("a.toml", "[tls]\n", Form::Toml),
            ("a.conf", "[TLS]\n", Form::Ini),
            ("a.conf", "[component]\nworkflow = component-initiated\n", Form::Ini),
            ("a.conf", "[component]\nworkflow = 'x'\n", Form::Toml),
            ("a.conf", "[module_scamper]\nport = 1\n", Form::Ini),
            ("a.conf", "[policy]\ndeny = ['a']\n[component]\nstamps = auto\n", Form::Toml),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            assert_eq!(
                read(&file, Program::Host, std::iter::empty(), &mut Vec::new()).0,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_again_or_has_no_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for file in [folder.path(), Path::new("/dev/zero")] {
            let mut mistakes = Vec::new();
            read(file, Program::Host, std::iter::empty(), &mut mistakes);
            let expected = format!("{}: is not a regular file", file.display());
            assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
        let long = folder.path().join("long.toml");
        std::fs::write(&long, "#".repeat((1 << 20) + 1)).unwrap();
        let mut mistakes = Vec::new();
        read(&long, Program::Host, std::iter::empty(), &mut mistakes);
        assert_eq!(mistakes[0].problem, "1048577 octets, accepted: at most 1048576");
    }

    #[test]
    fn a_variable_for_another_program_is_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "").unwrap();
        let names =
            ["SONDE_CLIENT__URL", "SONDE_LISTEN__HOSTS", "SONDE_TLS__KEY", "SONDE_LIMIT__X"];
        let variables = names.map(|name| (name.to_owned(), "a".to_owned())).into_iter();
        for (program, expected) in [
            (Program::Host, &["limit", "tls"][..]),
            (Program::Supervisor, &["limit", "listen", "tls"]),
            (Program::Client, &["client", "limit", "tls"]),
        ] {
            let (_, table) = read(&file, program, variables.clone(), &mut Vec::new());
            assert_eq!(table.keys().collect::<Vec<_>>(), expected, "{program:?}");
        }
    }

    #[test]
    fn a_variable_of_the_environment_overlays_both_forms() {
        for (name, text) in
            [("a.toml", "[client]\nport = 1\n"), ("a.conf", "[client]\nport = 1\nworkflow: y\n")]
        {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let variable = ("SONDE_CLIENT__PORT".to_owned(), "8888".to_owned());
            let mut mistakes = Vec::new();
            let (_, table) = read(&file, Program::Client, std::iter::once(variable), &mut mistakes);
            let mut top = Section::top(&file, &table, folder.path(), &mut mistakes);
            assert_eq!(top.section("client", &[]).whole("port", 1..=65_535), Some(8888));
        }
    }
}
