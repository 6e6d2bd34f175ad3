//! nginx as a server in a laboratory.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{Background, Lab, run, wait_until};

/// nginx at 80 and, over TLS, at 443, with `/page` of 200,000 octets.
#[derive(Debug)]
pub struct Nginx {
    _program: Background,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// In a node, at all of its addresses. Needs the programs `nginx` and `openssl`.
    ///
    /// # Panics
    ///
    /// Where it does not begin to listen.
    #[must_use]
    pub fn start(lab: &Lab, node: &str) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let file = |name: &str| folder.path().join(name);
        let write = |name: &str, content: &[u8]| {
            fs::write(file(name), content).expect("the folder was made just before");
        };
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=nobody.example", "-keyout"])
            .arg(file("key"))
            .arg("-out")
            .arg(file("cert")));
        write("page", &[b'x'; 200_000]);
        write("conf", configuration(folder.path()).as_bytes());
        let mut command = lab.command(node, "nginx");
        command.arg("-e").arg(file("log")).arg("-c").arg(file("conf"));
        let program = Lab::background(command);
        wait_until("nginx", Duration::from_secs(20), || {
            lab.shell(node, "ss -Htln sport = :443").contains(":443")
        });
        Self { _program: program, folder }
    }

    /// A folder that is removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn configuration(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "daemon off; master_process off; user root; pid {at}/pid; error_log {at}/log;
        worker_rlimit_nofile 8192;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};
            uwsgi_temp_path {at}; scgi_temp_path {at};
            server {{
                listen 80 backlog=4096; listen [::]:80 backlog=4096;
                listen 443 ssl; listen [::]:443 ssl;
                ssl_certificate {at}/cert; ssl_certificate_key {at}/key; root {at};
            }}
        }}"
    )
}
