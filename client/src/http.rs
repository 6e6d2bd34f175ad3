//! The carrier of messages over HTTP and TLS.

use sonde_mplane::{Capability, Message};
use sonde_mplane_http::{Client, ClientError};

use crate::{connection::CarryError, shell::Carrier};

/// A client with the place that it talks to.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: String,
}

impl Http {
    /// Talks to the server at `url`.
    ///
    /// # Errors
    ///
    /// [`CarryError::Url`] where it is no address, or asks for TLS without a certificate, or the other way round.
    pub fn new(client: Client, url: &str) -> Result<Self, CarryError> {
        let mut http = Self { client, url: String::new() };
        http.set_url(url)?;
        Ok(http)
    }

    /// Where a message goes: the link of a capability may be a whole URL, or a path at the usual place.
    fn target(&self, link: Option<&str>) -> Result<String, CarryError> {
        let Some(link) = link.filter(|link| !link.is_empty()) else { return Ok(self.url.clone()) };
        let base = self.client.url(&self.url).map_err(|error| failed(&self.url, &error))?;
        let target = base.join(link).map_err(|_| CarryError::Url { url: link.to_owned() })?;
        Ok(target.into())
    }
}

impl Carrier for Http {
    async fn discover(&mut self, url: Option<&str>) -> Result<Vec<Capability>, CarryError> {
        let url = url.unwrap_or(&self.url);
        self.client.discover(url).await.map_err(|error| failed(url, &error))
    }

    async fn send(&mut self, link: Option<&str>, message: &Message) -> Result<Message, CarryError> {
        let url = self.target(link)?;
        self.client.post(&url, message).await.map_err(|error| failed(&url, &error))
    }

    fn set_url(&mut self, url: &str) -> Result<(), CarryError> {
        let whole = self.client.url(url).map_err(|error| failed(url, &error))?;
        self.url = whole.into();
        Ok(())
    }
}

fn failed(url: &str, error: &ClientError) -> CarryError {
    if let ClientError::Url { url } = error {
        return CarryError::Url { url: url.clone() };
    }
    // The cause begins with where it went.
    let text = error.to_string();
    let cause = text.split_once(": ").filter(|(place, _)| place.contains("://"));
    let cause = cause.map_or(text.as_str(), |(_, cause)| cause).to_owned();
    CarryError::Failed { url: url.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use sonde_mplane::Registries;
    use sonde_mplane_http::{Shared, Timeouts};

    use super::*;

    fn http(url: &str) -> Result<Http, CarryError> {
        let registries = Shared::new(Registries::built_in());
        Http::new(Client::new(None, registries, Timeouts::default()).unwrap(), url)
    }

    #[test]
    fn a_link_is_followed_from_the_usual_place() {
        let http = http("192.0.2.1:1228").unwrap();
        let target = |link| http.target(link).unwrap();
        assert_eq!(target(None), "http://192.0.2.1:1228/");
        assert_eq!(target(Some("")), "http://192.0.2.1:1228/");
        assert_eq!(target(Some("/specification")), "http://192.0.2.1:1228/specification");
        assert_eq!(target(Some("http://192.0.2.2:1/x")), "http://192.0.2.2:1/x");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_text() {
        let error = http("ftp://192.0.2.1/").unwrap_err().to_string();
        assert!(error.starts_with("\"ftp://192.0.2.1/\" is no address"), "{error}");
        let error = http("https://192.0.2.1/").unwrap_err().to_string();
        let expected = "https://192.0.2.1/: https needs a certificate, and none is configured";
        assert_eq!(error, expected);
    }
}
