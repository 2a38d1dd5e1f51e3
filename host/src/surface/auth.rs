//! Who calls: a bearer token, or, on a loopback host without tokens, its operator, if the request was really meant for us.

use axum::extract::{FromRequestParts, Request, State as Shared};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use policy::task::Role;
use url::Host;

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
        return Ok(Caller::loopback());
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

/// For what only an operator may see or do.
pub(super) fn operators_only(caller: &Caller) -> Result<(), ApiError> {
    match caller.role {
        Role::Operator => Ok(()),
        Role::Household | Role::System => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "operator_only", "this is for operators", "use an operator's token"))
        }
    }
}

/// Lets a request through to a host without tokens only if it was meant for it: a page in a browser can reach loopback too, but
/// says by which name it did, and from where.
pub(super) async fn meant_for_us(Shared(state): Shared<State>, request: Request, next: Next) -> Result<Response, ApiError> {
    if state.config.auth.tokens.is_empty() {
        named(request.headers(), &state.config)?;
    }
    Ok(next.run(request).await)
}

fn named(headers: &HeaderMap, config: &Config) -> Result<(), ApiError> {
    let public = reqwest::Url::parse(&config.server.public_url).ok();
    let host = text(headers, &HOST).map(|host| (host, reqwest::Url::parse(&format!("http://{host}")).ok()));
    let is_ours = |url: &reqwest::Url| {
        let by_address = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        by_address || public.as_ref().is_some_and(|public| public.host() == url.host())
    };
    if let Some((shown, parsed)) = &host
        && !parsed.as_ref().is_some_and(is_ours)
    {
        let hint = "call it by its loopback address, or set [server] public_url; configure tokens to serve other names";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_host", format!("Host `{shown}` is not this server"), hint));
    }
    // Another port of this machine is another site.
    let same = |origin: &reqwest::Url, url: &reqwest::Url| {
        origin.host() == url.host() && origin.port_or_known_default() == url.port_or_known_default()
    };
    if let Some(shown) = text(headers, &ORIGIN) {
        let own = [host.and_then(|(_, parsed)| parsed), public];
        let origin = reqwest::Url::parse(shown).ok();
        if !origin.is_some_and(|origin| own.iter().flatten().any(|url| same(&origin, url))) {
            let hint = "requests of other sites' pages need a token";
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "foreign_origin",
                format!("Origin `{shown}` is not this server"),
                hint,
            ));
        }
    }
    Ok(())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
