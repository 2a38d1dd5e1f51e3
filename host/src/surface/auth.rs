//! Who calls: a bearer token, or, on a loopback host without tokens, its operator, if the request was really meant for us.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};

use super::State;
use super::error::ApiError;
use crate::config::Config;
use crate::id;
use crate::ingress::Caller;

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let caller = authenticate(&parts.headers, &state.config);
        if let Err(refused) = &caller
            && parts.uri.path() == "/inbox"
        {
            super::inbox::count_rejection(refused.code);
        }
        caller
    }
}

fn authenticate(headers: &HeaderMap, config: &Config) -> Result<Caller, ApiError> {
    if config.auth.tokens.is_empty() {
        return meant_for_us(headers, config).map(|()| Caller::loopback());
    }
    let refused =
        |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", message, "send Authorization: Bearer TOKEN");
    let header = text(headers, &AUTHORIZATION).ok_or_else(|| refused("there is no Authorization header"))?;
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| refused("the Authorization header is no bearer token"))?;
    // Digests are compared: how long that takes says nothing about the token.
    let digest = id::sha256(token.as_bytes());
    let known = config.auth.tokens.iter().find(|known| known.digest == digest);
    known.map(Caller::of).ok_or_else(|| refused("the token is not known"))
}

/// A page in a browser can reach loopback too: it is told by the name it used, or by its own origin.
fn meant_for_us(headers: &HeaderMap, config: &Config) -> Result<(), ApiError> {
    let public = reqwest::Url::parse(&config.server.public_url).ok();
    let ours = |host: &str| {
        matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1")
            || public.as_ref().and_then(reqwest::Url::host_str).is_some_and(|public| public == host)
    };
    let host_of = |authority: &str| reqwest::Url::parse(&format!("http://{authority}")).ok()?.host_str().map(str::to_owned);
    if let Some(host) = text(headers, &HOST)
        && !host_of(host).is_some_and(|host| ours(&host))
    {
        let hint = "call it by its loopback address, or set [server] public_url; configure tokens to serve other names";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_host", format!("Host `{host}` is not this server"), hint));
    }
    if let Some(origin) = text(headers, &ORIGIN)
        && !reqwest::Url::parse(origin).ok().and_then(|url| url.host_str().map(&ours)).unwrap_or(false)
    {
        let hint = "requests of other sites' pages need a token";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", format!("Origin `{origin}` is not this server"), hint));
    }
    Ok(())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
