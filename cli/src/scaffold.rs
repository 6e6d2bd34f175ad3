//! `sonde plugin new`: a crate outside this workspace that builds, passes its test and can be dropped
//! into a host.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ArgMatches;

use crate::{Exit, Stop, console::say};

const MANIFEST: &str = include_str!("../template/Cargo.toml.in");
const SOURCE: &str = include_str!("../template/lib.rs.in");

pub(crate) fn create(matches: &ArgMatches) -> Result<Exit, Stop> {
    let folder = PathBuf::from(
        matches.get_one::<String>("path").ok_or_else(|| Stop::usage("NAME is missing"))?,
    );
    let name =
        folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.chars().all(plain) {
        let accepted = "lower-case letters, digits and -, beginning with a letter";
        return Err(Stop::usage(format!("{name:?} is no name of a method, accepted: {accepted}")));
    }
    let (api, testkit) = dependencies(matches.get_one::<PathBuf>("api"))?;
    let fail = |file: &Path| {
        let file = file.display().to_string();
        move |error: std::io::Error| Stop::usage(format!("{file}: {error}"))
    };
    fs::create_dir_all(folder.parent().unwrap_or(Path::new("."))).map_err(fail(&folder))?;
    // Never over something that is there.
    fs::create_dir(&folder).map_err(fail(&folder))?;
    fs::create_dir(folder.join("src")).map_err(fail(&folder))?;
    for (file, template) in [("Cargo.toml", MANIFEST), ("src/lib.rs", SOURCE)] {
        let text =
            template.replace("@name@", &name).replace("@api@", &api).replace("@testkit@", &testkit);
        fs::write(folder.join(file), text).map_err(fail(&folder.join(file)))?;
    }
    let library = format!("target/release/lib{}.so", name.replace('-', "_"));
    say!("cd {}", folder.display());
    say!("cargo test                # in a simulated network, no root");
    say!("cargo build --release");
    say!("install -D {library} ~/.local/lib/sonde/plugins/{name}.so");
    say!("sonde run {name} 127.0.0.1");
    Ok(Exit::Done)
}

/// How the crate names the two that it needs: as published, or in a folder with their sources.
fn dependencies(api: Option<&PathBuf>) -> Result<(String, String), Stop> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
    let folder = match api {
        Some(folder) => folder.clone(),
        // Built from sources that are still there: those fit this program exactly.
        None if beside.join("Cargo.toml").is_file() => beside,
        None => {
            let version = "\"1.0\"".to_owned();
            return Ok((version.clone(), version));
        }
    };
    let folder = folder
        .canonicalize()
        .map_err(|error| Stop::usage(format!("{}: {error}", folder.display())))?;
    Ok((dependency(&folder), dependency(&folder.join("testkit"))))
}

/// In TOML, whose basic texts are those of JSON.
fn dependency(folder: &Path) -> String {
    format!("{{ path = {} }}", serde_json::Value::from(folder.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_as_toml_names_it() {
        let accent = Path::new("/tmp/a\u{301}\t\"");
        assert_eq!(dependency(accent), "{ path = \"/tmp/a\u{301}\\t\\\"\" }");
    }
}
