//! What a supervisor may know of us, in a file for the next process: what is gone by then has to be taken back.
//!
//! Capabilities in envelopes, one behind the other: a message holds some thousands, a supervisor may have more.

use std::{fs, io, io::Write, path::Path};

use sonde_mplane::{Capability, Envelope, Message, Registries};

use super::registration::TOGETHER;

/// Ends an envelope: what is in it is indented.
const END: &str = "\n}\n";

/// What stands in the file; nothing where it is not there. What cannot be read is left out with a warning.
#[must_use]
pub fn read_registered(file: &Path, registries: &Registries) -> Vec<Capability> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot be read");
            return Vec::new();
        }
    };
    let mut capabilities = Vec::new();
    for envelope in text.split_inclusive(END) {
        match Message::from_json(envelope.as_bytes(), registries) {
            Ok(Message::Envelope(envelope)) => {
                capabilities.extend(envelope.contents.into_iter().filter_map(as_capability));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(file = %file.display(), %error, "cannot be read"),
        }
    }
    capabilities
}

/// Writes the file anew. Where that fails, a capability that goes before the next process is not taken back.
pub fn write_registered(file: &Path, capabilities: Vec<Capability>) {
    let messages: Vec<Message> = capabilities.into_iter().map(Message::from).collect();
    let mut text = String::new();
    for portion in messages.chunks(TOGETHER) {
        let envelope = Envelope { contents: portion.to_vec(), ..Envelope::default() };
        text += &Message::Envelope(envelope).to_json();
        text.push('\n');
    }
    if let Err(error) = replace(file, &text) {
        tracing::warn!(file = %file.display(), %error, "cannot be written");
    }
}

/// In one step, also where the power is cut.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let fresh = file.with_extension("new");
    let mut written = fs::File::create(&fresh)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&fresh, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn as_capability(message: Message) -> Option<Capability> {
    match message {
        Message::Capability(capability) => Some(capability),
        _ => None,
    }
}
