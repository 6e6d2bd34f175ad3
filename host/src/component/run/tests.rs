use std::{fs, sync::mpsc::Receiver};

use sonde_mplane_http::Identity;
use sonde_plugin_api::descriptor::Need;

use super::*;
use crate::component::fixture::{ADDRESSES, catalogue};

/// A component whose file says this, and what its desk is asked for.
fn component(folder: &Path, text: &str) -> (Component, Receiver<Request>) {
    let file = folder.join("host.toml");
    fs::write(&file, text).unwrap();
    let mut settings = Settings::beside(&folder.join("sonde"));
    settings.plugins.clear();
    settings.obey(Arc::new(Configuration::read(&file, [].into_iter()).unwrap()));
    let said = ComponentFile::read(&file, &[]).unwrap();
    let (reception, requests) = Reception::new();
    let (catalogue, offers) = (catalogue(), Arc::default());
    let component =
        Component::new(&file, settings, said, catalogue, ADDRESSES, offers, reception).unwrap();
    (component, requests)
}

#[test]
fn a_file_that_lost_its_certificates_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut component, _) = component(folder.path(), "[component]\n");
    let file = |name: &str| folder.path().join(name);
    component.said.tls = Some(TlsFiles {
        certificate: file("host.crt"),
        key: file("host.key"),
        authority: file("root-ca.crt"),
    });
    component.access.set(Access::closed());
    component.reload();
    assert!(!component.access.get().allows(&Identity::new("org.stranger"), "ping-average-ip4"));
}

#[test]
fn a_host_whose_desk_has_ended_ends_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (component, requests) = component(folder.path(), "[component]\n");
    let (ending, ended) = oneshot::channel();
    drop((ending, requests));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(component.work(&HashMap::new(), ended));
    assert!(matches!(result, Err(ComponentError::Broken)), "{result:?}");
}

#[test]
fn a_reload_tells_the_measurer_what_methods_may_do() {
    let folder = tempfile::tempdir().unwrap();
    let before = "[methods.ping]\npermit = ['ip_options']\n[component]\n";
    let (mut component, requests) = component(folder.path(), before);
    fs::write(&component.file, "[methods.ping]\n[component]\n").unwrap();
    component.reload();
    let obeyed = requests.try_iter().find_map(|request| match request {
        Request::Obey(configuration) => Some(configuration.grants("ping", Need::IpOptions)),
        _ => None,
    });
    assert_eq!(obeyed, Some(false));
}
