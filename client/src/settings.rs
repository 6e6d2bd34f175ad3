//! What an operator says of a client: `conf/client.toml`, or the `client.conf` of the reference implementation
//! (RI).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use sonde_config::{Form, Mistake, Peers, Program, Section, registries};
use sonde_mplane::Registries;
use sonde_mplane_http::{Timeouts, TlsFiles};

/// Of a supervisor on this machine.
const USUAL_URL: &str = "127.0.0.1:1228";

/// Everything that a client is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Supervisor, or host that listens. Without a scheme it is https where there is a certificate.
    pub url: String,
    /// Where capabilities are looked for first, if not there.
    pub capability_url: Option<String>,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// Where typed lines are kept.
    pub history: Option<PathBuf>,
    /// Values that are proposed, and need not be asked for in a script, by element.
    pub defaults: BTreeMap<String, String>,
    /// Certificate, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Names and types of elements.
    pub registries: Registries,
    /// What is there and does nothing here.
    pub ignored: Vec<String>,
}

impl Default for Settings {
    /// Without a file: a supervisor on this machine, over plain HTTP.
    fn default() -> Self {
        Self {
            url: USUAL_URL.to_owned(),
            capability_url: None,
            timeouts: Timeouts::default(),
            history: None,
            defaults: BTreeMap::new(),
            tls: None,
            registries: Registries::built_in(),
            ignored: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads a file in either form, and the variables of the environment that overlay it.
    ///
    /// # Errors
    ///
    /// All mistakes, with file, line and key.
    pub fn read(
        file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let (form, table) = sonde_config::read(file, Program::Client, variables, &mut mistakes);
        let mut top = Section::top(file, &table, form.folder(file), &mut mistakes);
        let settings = match form {
            Form::Toml => toml(&mut top),
            Form::Ini => ini(&mut top),
        };
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }
}

fn toml(top: &mut Section<'_, '_>) -> Settings {
    top.keys(&["client", "defaults", "tls", "registries"]);
    let usual = Settings::default();
    let has_tls = top.get("tls").is_some();
    let mut client = top.section("client", &["url", "connect_s", "answer_s", "history"]);
    let url = client.url("url", has_tls).unwrap_or(usual.url);
    let seconds = |read: Option<u64>, usual| read.map_or(usual, Duration::from_secs);
    let timeouts = Timeouts {
        connect: seconds(client.whole("connect_s", 1..=3600), usual.timeouts.connect),
        exchange: seconds(client.whole("answer_s", 1..=3600), usual.timeouts.exchange),
    };
    let history = client.path("history");
    let mut section = top.section("defaults", &[]);
    let mut defaults = BTreeMap::new();
    for name in section.names() {
        let text = section.value(&name, "a text or a number", |data| match data.to_json()? {
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Number(number) => Some(number.to_string()),
            // As mPlane writes it.
            serde_json::Value::Bool(flag) => Some(if flag { "True" } else { "False" }.to_owned()),
            _ => None,
        });
        defaults.extend(text.map(|text| (name, text)));
    }
    Settings {
        url,
        timeouts,
        history,
        defaults,
        tls: Peers::read(Form::Toml, top, &[]).tls,
        registries: registries(top, "registries"),
        ..Settings::default()
    }
}

fn ini(top: &mut Section<'_, '_>) -> Settings {
    let tls = Peers::read(Form::Ini, top, &[]).tls;
    let mut ignored = Vec::new();
    let mut client = top.section("client", &[]);
    let accepted = "client-initiated: the client connects to a supervisor or a host that listens";
    let said = client.value("workflow", accepted, |data| {
        (data.to_json()?.as_str()? == "client-initiated").then_some(())
    });
    client.require("workflow", said, accepted);
    let given = |client: &mut Section<'_, '_>, key: &str| match client.get(key) {
        Some(_) => client.text(key),
        None => None,
    };
    let capability_url = given(&mut client, "capability-url");
    let default_url = given(&mut client, "default-url");
    let registries = registries(&mut client, "registry_preload");
    let known = ["workflow", "capability-url", "default-url", "registry_preload"];
    leave_out(&client, &known, &mut ignored);
    let sections = [&["client"], Peers::sections(Form::Ini)].concat();
    leave_out(top, &sections, &mut ignored);
    let usual = Settings::default();
    let url = default_url.or_else(|| capability_url.clone()).unwrap_or(usual.url.clone());
    Settings { url, capability_url, tls, registries, ignored, ..usual }
}

/// What has a value and does nothing here.
fn leave_out(section: &Section<'_, '_>, known: &[&str], ignored: &mut Vec<String>) {
    for name in section.names().into_iter().filter(|name| !known.contains(&name.as_str())) {
        let Some(item) = section.get(&name).filter(|item| !item.data.is_blank()) else { continue };
        ignored.push(format!("{}: {name} does nothing here", item.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Settings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let clean = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
        match Settings::read(&file, std::iter::empty()) {
            Ok(mut settings) => {
                settings.ignored = settings.ignored.into_iter().map(clean).collect();
                Ok(settings)
            }
            Err(mistakes) => Err(mistakes.iter().map(|it| clean(it.to_string())).collect()),
        }
    }

    #[test]
    fn the_file_of_the_reference_implementation_is_read_as_it_is() {
        let text = "[client]\nregistry_uri =\nworkflow = client-initiated\n\
                    capability-url: http://localhost:8890/\n[Roles]\nOrg.X = a\n[other]\n";
        let settings = read("client.conf", text).unwrap();
        assert_eq!(settings.url, "http://localhost:8890/");
        assert_eq!(settings.ignored, ["client.conf:7: other does nothing here"]);
        let text = text.replace("client-initiated", "component-initiated");
        assert_eq!(
            read("client.conf", &text).unwrap_err(),
            [
                "client.conf:3: client.workflow: is \"component-initiated\", accepted: client-initiated: \
              the client connects to a supervisor or a host that listens"
            ]
        );
    }

    #[test]
    fn the_sample_in_the_form_of_the_reference_implementation_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["client-1.crt", "client-1.key", "ca.crt"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let own = folder.path().display().to_string();
        let sample = include_str!("../../conf/ini/client.conf");
        let settings = read("client.conf", &sample.replace("certificates", &own)).unwrap();
        assert_eq!(settings.url, "https://supervisor.example:8890/");
        assert_eq!(settings.capability_url.as_deref(), Some("https://supervisor.example:8890/"));
        assert_eq!(settings.tls.unwrap().key, folder.path().join("client-1.key"));
        assert_eq!(settings.ignored, [""; 0]);
    }

    #[test]
    fn every_mistake_is_found_at_once_with_line_key_value_and_hint() {
        let text = "[client]\nurl = 7\nconect_s = 1\nanswer_s = 0\n[defaults]\na = [1]\n\
                    registries = 1\n[tls]\n";
        assert_eq!(
            read("client.toml", text).unwrap_err(),
            [
                "client.toml:3: client.conect_s: unknown key, accepted: url, connect_s, answer_s, \
                 history; did you mean connect_s?",
                "client.toml:2: client.url: is 7, accepted: https://HOST:PORT, for there is a section \
                 tls",
                "client.toml:4: client.answer_s: is 0, accepted: a whole number from 1 to 3600",
                "client.toml:6: defaults.a: is [1], accepted: a text or a number",
                "client.toml:8: tls.certificate: is missing, accepted: a PEM file",
                "client.toml:8: tls.key: is missing, accepted: a PEM file",
                "client.toml:8: tls.authority: is missing, accepted: a PEM file",
            ]
        );
    }

    #[test]
    fn the_sample_is_read_and_says_what_the_defaults_are() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/client.toml");
        let sample = Settings::read(&file, std::iter::empty()).unwrap();
        let usual = Settings::default();
        assert_eq!(sample.url, format!("http://{}/", usual.url));
        assert_eq!(sample.timeouts, usual.timeouts);
        assert!(sample.tls.is_none());
        // The example of README asks for nothing more.
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/demo/client.toml.in");
        let demo = std::fs::read_to_string(demo).unwrap();
        for element in sample.defaults.keys() {
            assert!(demo.contains(&format!("\"{element}\"")), "{element} is not in {demo}");
        }
        assert_eq!(sample.defaults.len(), demo.matches("\"scamper.ping.").count());
    }
}
