//! The one client for everything that leaves this process: only to hosts that the operator named, never along a redirect, never
//! through a proxy of the environment, and with a cap on what comes back.

pub mod health;
pub mod otlp;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::{RequestBuilder, Response, Url};

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
    /// A client that may reach these URLs' hosts and ports.
    ///
    /// # Errors
    /// [`EgressError::Start`].
    pub fn new<'u>(urls: impl Iterator<Item = &'u str>) -> Result<Self, EgressError> {
        // Fails only if it was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
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
        if known && url.username().is_empty() { Ok(url) } else { Err(refused()) }
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
