//! The one client for everything that leaves this process: only to hosts that the operator named, never along a redirect, never
//! through a proxy of the environment, never by a name that leads elsewhere than it says, and with a cap on what goes and on what
//! comes back.

pub mod health;
pub mod otlp;

mod resolve;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use futures::{Stream, StreamExt, TryStreamExt};
use policy::pattern::Patterns;
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;

use resolve::Resolver;

/// Largest body that is sent, in bytes.
const MOST_SENT: usize = 16 * 1024 * 1024;
/// Time to reach a server.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a call did not leave, or its answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The client could not be made.
    #[error("the HTTP client cannot start: {0}")]
    Start(String),
    /// No such destination in the configuration.
    #[error("`{0}` is no destination that the operator named")]
    NotAllowed(String),
    /// What would be sent is longer than it may be.
    #[error("what would be sent is {0} bytes, and at most {MOST_SENT} are")]
    TooMuch(usize),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The network or the other side failed.
    #[error("{}", with_cause(.0))]
    Http(#[from] reqwest::Error),
}

/// `reqwest` keeps the reason in the chain below its message.
fn with_cause(error: &reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(below) = cause {
        said = format!("{said}: {below}");
        cause = below.source();
    }
    said
}

/// A cheap handle.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    allowed: Arc<BTreeSet<(String, u16)>>,
}

impl Client {
    /// A client that may reach these URLs' hosts and ports; only names of `private` (patterns), and those without a dot, may lead into the
    /// house.
    ///
    /// # Errors
    /// [`EgressError::Start`].
    pub fn new<'u>(urls: impl Iterator<Item = &'u str>, private: &[String]) -> Result<Self, EgressError> {
        let private = Patterns::compile(private).map_err(|bad| EgressError::Start(bad.to_string()))?;
        // Fails only if it was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver { private: Arc::new(private) }))
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| EgressError::Start(error.to_string()))?;
        let allowed = urls.filter_map(|url| Url::parse(url).ok()).filter_map(|url| destination(&url)).collect();
        Ok(Self { http, allowed: Arc::new(allowed) })
    }

    /// A POST to a destination that the operator named.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`].
    pub fn post(&self, url: &str) -> Result<RequestBuilder, EgressError> {
        Ok(self.http.post(self.checked(url)?))
    }

    /// The same with a JSON body, which has its bounds.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`], [`EgressError::TooMuch`].
    pub fn post_json(&self, url: &str, body: &impl Serialize) -> Result<RequestBuilder, EgressError> {
        let body = serde_json::to_vec(body).map_err(|error| EgressError::Start(error.to_string()))?;
        if body.len() > MOST_SENT {
            return Err(EgressError::TooMuch(body.len()));
        }
        Ok(self.post(url)?.header(CONTENT_TYPE, "application/json").body(body))
    }

    /// A GET from a destination that the operator named.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`].
    pub fn get(&self, url: &str) -> Result<RequestBuilder, EgressError> {
        Ok(self.http.get(self.checked(url)?))
    }

    /// A PATCH to a destination that the operator named.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`].
    pub fn patch(&self, url: &str) -> Result<RequestBuilder, EgressError> {
        Ok(self.http.patch(self.checked(url)?))
    }

    /// The client itself, for a library that speaks to one destination only.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`].
    pub fn bare(&self, url: &str) -> Result<reqwest::Client, EgressError> {
        self.checked(url)?;
        Ok(self.http.clone())
    }

    fn checked(&self, url: &str) -> Result<Url, EgressError> {
        let refused = || EgressError::NotAllowed(url.to_owned());
        let url = Url::parse(url).map_err(|_| refused())?;
        let known = destination(&url).is_some_and(|destination| self.allowed.contains(&destination));
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if known && plain { Ok(url) } else { Err(refused()) }
    }
}

fn destination(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// The body as it comes, up to `most` bytes: one more is an error.
pub fn capped(response: Response, most: usize) -> impl Stream<Item = Result<Bytes, EgressError>> {
    response.bytes_stream().scan(0, move |read: &mut usize, chunk| {
        let counted = chunk.map_err(EgressError::from).and_then(|chunk| {
            *read = read.saturating_add(chunk.len());
            if *read > most { Err(EgressError::TooLarge(most)) } else { Ok(chunk) }
        });
        futures::future::ready(Some(counted))
    })
}

/// The body as text, up to `most` bytes.
///
/// # Errors
/// [`EgressError::TooLarge`], or that of the network.
pub async fn text(response: Response, most: usize) -> Result<String, EgressError> {
    let body: Vec<Bytes> = capped(response, most).try_collect().await?;
    Ok(String::from_utf8_lossy(&body.concat()).into_owned())
}

/// How the body begins: at most `most` bytes, and nothing more is read.
///
/// # Errors
/// That of the network.
pub async fn start_of(response: Response, most: usize) -> Result<String, EgressError> {
    let mut chunks = Box::pin(response.bytes_stream());
    let mut body = Vec::new();
    while body.len() < most
        && let Some(chunk) = chunks.next().await
    {
        body.extend_from_slice(&chunk?);
    }
    body.truncate(most);
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_reached_and_as_it_was_named() {
        let client = Client::new(["http://127.0.0.1:11434", "https://api.example.com/v1"].into_iter(), &[]).unwrap();
        for url in ["http://127.0.0.1:11434/api/chat", "https://api.example.com/else", "https://API.example.com:443/"] {
            assert!(client.get(url).is_ok(), "{url}");
        }
        for url in [
            "http://127.0.0.1:11435/",
            "http://localhost:11434/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.test/",
            "https://user@api.example.com/",
            "https://:word@api.example.com/",
            "ftp://api.example.com:443/",
            "no url",
        ] {
            assert!(matches!(client.get(url), Err(EgressError::NotAllowed(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_into_the_house_is_not_followed() {
        use reqwest::dns::Resolve;
        // A name with dots in it that every machine leads to itself, without asking anybody.
        let look = |private: &[String]| {
            let private = Arc::new(Patterns::compile(private).unwrap());
            Resolver { private }.resolve("127.0.0.1".parse().unwrap())
        };
        let said = look(&[]).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("which is in the house: add \"127.0.0.1\" to `private` in [egress]"), "{said}");
        assert_eq!(look(&["127.*".into()]).await.unwrap().count(), 1);
    }

    #[test]
    fn a_body_has_its_bounds() {
        let client = Client::new(std::iter::once("http://127.0.0.1:9"), &[]).unwrap();
        assert!(client.post_json("http://127.0.0.1:9/", &"x").is_ok());
        let large = "x".repeat(MOST_SENT);
        assert!(matches!(client.post_json("http://127.0.0.1:9/", &large), Err(EgressError::TooMuch(_))));
    }
}
