//! Finding capabilities: pages with links, followed until there are messages.
//!
//! As the RI does: a reply of exactly `text/html` is scanned for `<a href>`, one of the mPlane type is a
//! message. Links lead within the same scheme, host and port only.

use std::collections::HashSet;

use reqwest::Url;
use sonde_mplane::{Capability, Envelope, Message, Unreadable};

use crate::client::{Client, ClientError};

/// Pages and messages that one discovery fetches at most.
const MAX_FETCHED: usize = 20_000;

impl Client {
    /// Everything that a server offers, in the order of its links. What cannot be read, as one with elements of no
    /// registry that is loaded, is left out with a warning.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the first page cannot be fetched, or is a message that cannot be read. A link that is answered
    /// with another status than 200 leads nowhere.
    pub async fn discover(&self, url: &str) -> Result<Vec<Capability>, ClientError> {
        let first = self.url(url)?;
        let mut waiting = vec![first.clone()];
        let mut seen: HashSet<Url> = waiting.iter().cloned().collect();
        let mut capabilities = Vec::new();
        while let Some(url) = waiting.pop() {
            let (media_type, octets) = match self.fetch(&url).await {
                Ok(reply) => reply,
                Err(ClientError::Status { .. }) if url != first => continue,
                Err(error) => return Err(error),
            };
            if media_type == sonde_mplane::MEDIA_TYPE {
                match self.offered(&url, &octets) {
                    Ok(offered) => capabilities.extend(offered),
                    Err(error) if url == first => return Err(error),
                    Err(error) => tracing::warn!(%error, "left out"),
                }
            } else if media_type == "text/html" {
                let page = String::from_utf8_lossy(&octets);
                let targets = hrefs(&page);
                let links = targets.iter().filter_map(|target| url.join(target).ok());
                let mut fresh: Vec<Url> = links
                    .filter(|link| link.origin() == first.origin())
                    .filter(|link| seen.len() < MAX_FETCHED && seen.insert(link.clone()))
                    .collect();
                // The last one that waits is the next one fetched.
                fresh.reverse();
                waiting.append(&mut fresh);
            }
        }
        Ok(capabilities)
    }

    /// Capabilities of a message.
    fn offered(&self, url: &Url, octets: &[u8]) -> Result<Vec<Capability>, ClientError> {
        let registries = self.registries.get();
        let Ok(contents) = Envelope::contents_from_json(octets, &registries) else {
            return Ok(capability(self.read(url, octets)?).into_iter().collect());
        };
        let readable = contents.into_iter().filter_map(|message| match message {
            Ok(message) => capability(message),
            Err(Unreadable { token, error, .. }) => {
                tracing::warn!(%url, token, %error, "left out");
                None
            }
        });
        Ok(readable.collect())
    }
}

fn capability(message: Message) -> Option<Capability> {
    match message {
        Message::Capability(capability) => Some(capability),
        _ => None,
    }
}

/// Targets of the anchors of a page, in order. A tag that does not end is the last one, and what is within a tag is no
/// other, so the work is in proportion to the page.
fn hrefs(page: &str) -> Vec<String> {
    let lower = page.to_ascii_lowercase();
    let mut targets = Vec::new();
    let mut at = 0;
    while let Some(found) = lower[at..].find("<a") {
        let tag = at + found + 2;
        at = tag;
        if !lower[tag..].starts_with(|character: char| character.is_ascii_whitespace()) {
            continue;
        }
        at = lower[tag..].find('>').map_or(lower.len(), |length| tag + length);
        let Some(name) = lower[tag..at].find("href") else { continue };
        let rest = page[tag + name + 4..].trim_start();
        let Some(rest) = rest.strip_prefix('=').map(str::trim_start) else { continue };
        let target = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => rest[1..].split(quote).next(),
            _ => rest.split(|character: char| character.is_whitespace() || character == '>').next(),
        };
        let target = target.unwrap_or_default();
        targets.push(target.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&"));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_found_in_either_kind_of_quotes_and_nothing_else() {
        let page = "<A  HREF='/a'>x</a><a class=\"b\" href = \"/b?x=1&amp;y\">y</a><abbr href='/no'>\
                    <a name=href><a href=/c>z</a><a href='/open";
        assert_eq!(hrefs(page), ["/a", "/b?x=1&y", "/c", "/open"]);
    }

    #[test]
    fn a_tag_within_a_tag_is_none() {
        assert_eq!(hrefs("<a <a href='/a'><a href='/b'>"), ["/a", "/b"]);
        let endless = "<a ".repeat(4 << 20);
        assert!(hrefs(&endless).is_empty(), "and it takes no hours");
    }

    #[test]
    fn text_outside_ascii_does_not_shift_the_places() {
        assert_eq!(hrefs("\u{130}\u{e9}<a href='/\u{e9}'>"), ["/\u{e9}"]);
    }
}
