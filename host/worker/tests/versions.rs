//! Plugins and hosts that were built with different versions of plugin-api, from copies of this
//! source that are changed here and there.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{End, Engine, Place, limits, plugin};
use sonde_worker::{ProcessPort, Spawn};

/// What is copied; its own members of the workspace.
const COPIED: &[&str] = &["plugin-api", "host/worker"];

/// A changed copy of plugin-api and of this crate. It shares the target folder, so that nothing
/// else is built again; what it builds has the name of the variant.
struct Variant {
    name: &'static str,
    /// The workspace, with one folder in it, `name`: cargo tells packages apart by their path in
    /// the workspace, and those of a copy must not be taken for the real ones.
    workspace: PathBuf,
}

impl Variant {
    fn new(name: &'static str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Of an earlier run.
        let _ = fs::remove_dir_all(&workspace);
        for part in COPIED {
            copy(&root.join(part), &workspace.join(name).join(part));
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let begin = manifest.find("members = [").unwrap();
        let end = begin + manifest[begin..].find(']').unwrap();
        let members = ["plugin-api", "plugin-api/packet", "plugin-api/testkit", "host/worker"]
            .map(|member| format!("\"{name}/{member}\""))
            .join(", ");
        let rest = manifest[end..].replace("path = \"", &format!("path = \"{name}/"));
        fs::write(
            workspace.join("Cargo.toml"),
            format!("{}members = [{members}{rest}", &manifest[..begin]),
        )
        .unwrap();
        fs::copy(root.join("Cargo.lock"), workspace.join("Cargo.lock")).unwrap();

        let variant = Self { name, workspace };
        for example in ["raw", "hostile", "worker"] {
            let before = format!("name = \"{example}\"");
            let after = format!("name = \"{example}-{name}\"");
            variant.replace("host/worker/Cargo.toml", &before, &after);
        }
        variant
    }

    fn file(&self, path: &str) -> PathBuf {
        self.workspace.join(self.name).join(path)
    }

    fn edit(&self, file: &str, change: impl FnOnce(&str) -> String) {
        let path = self.file(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&text)).unwrap();
    }

    fn replace(&self, file: &str, before: &str, after: &str) {
        self.edit(file, |text| {
            assert!(text.contains(before), "{file} has no `{before}`");
            text.replace(before, after)
        });
    }

    /// Plugin-api gets a method and a field, as a minor version may.
    fn with_next_minor(self) -> Self {
        self.replace("plugin-api/Cargo.toml", "version = \"1.0.0\"", "version = \"1.1.0\"");
        let abi = "plugin-api/src/abi.rs";
        self.replace(
            abi,
            "    fn usage(&self) -> Usage;\n",
            "    fn usage(&self) -> Usage;\n    fn more(&self) -> u64 {\n        7\n    }\n",
        );
        let field = "    pub instance: extern \"C\" fn(config: RStr<'_>) -> RResult<InstanceBox, RString>,\n";
        self.replace(abi, field, &format!("{field}    pub more: extern \"C\" fn() -> u64,\n"));
        self.replace(
            "plugin-api/src/glue.rs",
            "describe, instance }",
            "describe, instance, more: { extern \"C\" fn more() -> u64 { 7 } more } }",
        );
        self
    }

    /// Builds an example of the copy; the folder that it lies in.
    fn build(&self, example: &str) -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "-p", "sonde-worker", "--target-dir"]);
        cargo.arg(target).args(["--example", &format!("{example}-{}", self.name)]);
        assert!(cargo.current_dir(&self.workspace).status().unwrap().success(), "{}", self.name);
        target.join("debug/examples")
    }

    fn plugin(&self) -> PathBuf {
        self.build("hostile").join(format!("libhostile_{}.so", self.name))
    }

    fn program(&self) -> PathBuf {
        self.build("worker").join(format!("worker-{}", self.name))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
#[ignore = "needs a minute: builds a second plugin-api"]
fn older_plugin_runs_on_a_newer_host_and_a_newer_plugin_is_refused_by_an_older_one() {
    let place = Place::new();
    let newer = Variant::new("newer").with_next_minor();
    assert_eq!(
        place.refusal(&newer.plugin()),
        "was built for plugin-api 1.1.0, this host speaks 1.0.0: update the host"
    );

    let program = newer.program();
    let older = plugin("hostile");
    let described = sonde_worker::describe(&program, &older, &place.store()).unwrap();
    assert_eq!(described.api, "1.0.0");
    let mut port = ProcessPort::spawn(Spawn {
        program: program.clone(),
        plugin: older,
        store: place.store(),
        kept: None,
        limits: limits(),
        name: "older".into(),
    })
    .unwrap();
    let mut engine = Engine::default();
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));

    let described = sonde_worker::describe(&program, &newer.plugin(), &place.store()).unwrap();
    assert_eq!(described.api, "1.1.0");
}

#[test]
#[ignore = "needs a minute: builds a second plugin-api"]
fn plugin_of_another_major_version_is_refused() {
    let place = Place::new();
    let major = Variant::new("major");
    major.replace("plugin-api/Cargo.toml", "version = \"1.0.0\"", "version = \"2.0.0\"");
    major.replace(
        "../Cargo.toml",
        "path = \"major/plugin-api\", version = \"1.0.0\"",
        "path = \"major/plugin-api\", version = \"2.0.0\"",
    );
    assert_eq!(
        place.refusal(&major.plugin()),
        "was built for plugin-api 2.0.0, this host speaks 1.0.0: update the host"
    );
}

#[test]
#[ignore = "needs a minute: builds a second plugin-api"]
fn plugin_with_another_layout_is_refused_with_the_path_to_the_difference() {
    let place = Place::new();
    let layout = Variant::new("layout");
    layout.replace("plugin-api/src/abi.rs", "pub token: u32,", "pub toke: u32,");
    for file in ["glue.rs", "abi.rs", "author"] {
        rename_token(&layout.file("plugin-api/src").join(file));
    }
    let line = place.refusal(&layout.plugin());
    assert!(
        line.starts_with("was built with a plugin-api that differs from the published one: "),
        "{line}"
    );
    assert!(line.contains("field_name:token ") && line.contains("field_name:toke "), "{line}");
    assert!(line.len() < 500, "{line}");
}

/// `token` becomes `toke` wherever it is a word.
fn rename_token(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            rename_token(&entry.unwrap().path());
        }
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let mut renamed = String::new();
    let mut word = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        renamed.push_str(if word == "token" { "toke" } else { &word });
        renamed.push(character);
        word.clear();
    }
    fs::write(path, renamed).unwrap();
}

#[test]
#[ignore = "needs some minutes: builds everything with panic=abort"]
fn plugin_that_aborts_on_panic_is_refused_inline_and_lost_in_a_process() {
    let place = Place::new();
    let aborts = Variant::new("aborts");
    aborts.edit("../Cargo.toml", |text| {
        text.replace("[profile.dev]", "[profile.dev]\npanic = \"abort\"")
    });
    let path = aborts.plugin();
    assert!(!place.describe(&path).unwrap().build.unwinds);
    assert_eq!(
        sonde_worker::load(&path, &place.store()).unwrap_err().to_string(),
        "was compiled with panic=abort, so a bug in it would end the host: rebuild it with \
         panic=unwind, or run it in a process of its own"
    );
    let mut port = place.process(&path);
    let mut engine = Engine::default();
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
    let lost = engine.see(&mut port, 1, &place.parameters("panic")).unwrap_err();
    assert!(lost.ends_with("signal 6 (aborted)"), "{lost}");
}
