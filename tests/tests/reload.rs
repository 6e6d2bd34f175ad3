//! Plugins that come, change and go while a host runs.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{fs, io::Write};

use sonde_host::{Catalogue, Settings};
use sonde_tests::{plugin, sonde};

#[test]
fn a_changed_file_is_asked_again_and_an_offer_of_before_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    let mut settings = Settings::beside(&sonde());
    settings.plugins = vec![folder.path().to_path_buf()];
    settings.store = Some(store.path().to_path_buf());
    let file = folder.path().join("ping.so");
    fs::copy(plugin("ping"), &file).unwrap();

    let mut catalogue = Catalogue::scan(&settings);
    let before = catalogue.find("ping").unwrap();
    assert!(!catalogue.refresh(&settings), "nothing has changed");

    // Another content under the same name, put there as a package manager would.
    let changed = folder.path().join("ping.new");
    fs::copy(plugin("ping"), &changed).unwrap();
    fs::OpenOptions::new().append(true).open(&changed).unwrap().write_all(b"changed").unwrap();
    fs::rename(&changed, &file).unwrap();
    assert!(catalogue.refresh(&settings));
    let after = catalogue.find("ping").unwrap();
    assert!(!before.is_same_file(&after));
    assert_eq!(before.method().name, after.method().name);

    // A second file with the same method does not take it over.
    fs::copy(plugin("ping"), folder.path().join("zping.so")).unwrap();
    assert!(catalogue.refresh(&settings));
    assert_eq!(catalogue.refusals().len(), 1);
    assert!(catalogue.refusals()[0].reason.contains("ping"));
    assert!(after.is_same_file(&catalogue.find("ping").unwrap()));

    fs::write(&file, "no longer a library").unwrap();
    assert!(catalogue.refresh(&settings));
    let now = catalogue.find("ping").unwrap();
    assert!(now.path().ends_with("zping.so"));
    assert!(!catalogue.refusals()[0].reason.is_empty());
}
