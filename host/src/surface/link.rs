//! `/approval`: what a link in a message leads to. The token in it is the authority, for one word about one thing, once. A GET shows
//! what would happen and asks once more; it never decides. Whatever is wrong with a token is said and counted, and nothing else.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use policy::approval::Follows;
use policy::task::{Reaction, Status};
use serde::Deserialize;

use super::State;
use super::approvals::{found, heard};
use super::body::schema;
use super::dlq::{self, Wish};
use super::error::ApiError;
use super::page;
use crate::outbox::{BadToken, Claim, Tokens, letter};
use crate::store::approvals::Approval;
use crate::store::tasks::{self, Task};
use crate::store::{links, verdicts};
use crate::{api, id, metrics};

const FIELDS: &str = "send task_id, reaction, approval_token and actor, as the link has them";
/// Largest body, in bytes: an edited task.
const MOST: usize = 256 * 1024;

/// What a link carries.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) task_id: String,
    pub(super) reaction: String,
    pub(super) approval_token: String,
    pub(super) actor: String,
    /// The new text, to edit a dead letter.
    #[serde(default)]
    content: Option<String>,
    /// A dead letter may do again what must not be done twice.
    #[serde(default)]
    again: Option<String>,
}

/// What a link is about.
pub(super) enum About {
    /// A question.
    Question(Box<Approval>, Box<Task>),
    /// A task that failed.
    Letter(Box<Task>),
}

/// Refuses a token, and counts it.
fn refused(status: StatusCode, reason: &'static str, message: &str) -> ApiError {
    metrics::count(metrics::name::TOKENS_REFUSED, 1, &[("reason", reason)]);
    tracing::warn!(event = "token_refused", reason, "a link was refused: {message}");
    ApiError::new(status, reason, message, "nothing was done; `hai awaiting` lists what waits")
}

/// What a link says, if it says anything: it is ours, its time is not over, nobody changed a word of it, and it was not used.
async fn claimed(state: &State, said: &Said) -> Result<(Claim, About), ApiError> {
    let tokens = state.world.outbox.tokens();
    let claim = tokens.verify(&said.approval_token, id::now()).map_err(|bad| match bad {
        BadToken::Forged => refused(StatusCode::UNAUTHORIZED, "forged", "the token is not one of this host's"),
        BadToken::Lapsed => refused(StatusCode::GONE, "lapsed", "the link has lapsed"),
    })?;
    let swapped = || refused(StatusCode::UNAUTHORIZED, "swapped", "the token says something else than the request");
    if claim.reaction != said.reaction || claim.actor != said.actor {
        return Err(swapped());
    }
    match links::used(&state.world.db, &Tokens::hash(&said.approval_token)).await? {
        None => return Err(refused(StatusCode::UNAUTHORIZED, "unknown", "the token was never given out")),
        Some(true) => return Err(refused(StatusCode::CONFLICT, "spent", "the link was used before")),
        Some(false) => {}
    }
    let db = &state.world.db;
    let gone = || refused(StatusCode::CONFLICT, "not_waiting", "nothing waits for this any more");
    let task = tasks::find(db, &said.task_id).await?.ok_or_else(swapped)?;
    let about = match Reaction::named(&claim.reaction) {
        Some(Reaction::Approve | Reaction::Reject | Reaction::Defer) => {
            let approval = found(state, &claim.subject).await.map_err(|_| gone())?;
            if approval.at.task != said.task_id {
                return Err(swapped());
            }
            if task.status == Status::Expired {
                return Err(refused(StatusCode::GONE, "lapsed", "nobody answered in time: the question has lapsed"));
            }
            About::Question(Box::new(approval), Box::new(task))
        }
        _ if claim.subject != said.task_id => return Err(swapped()),
        _ => {
            let letter = dlq::waiting(state, &task.id).await.map_err(|_| gone())?;
            if claim.expires_at != letter::letter_ends(&letter) {
                // It has failed again since: that is another letter.
                return Err(gone());
            }
            About::Letter(Box::new(letter))
        }
    };
    Ok((claim, about))
}

/// `GET /approval`: a page that shows what will happen, with one button.
pub(super) async fn show(Shared(state): Shared<State>, said: Result<Query<Said>, QueryRejection>) -> Response {
    let shown = async {
        let Query(said) = said.map_err(|rejection| schema(rejection.body_text(), FIELDS))?;
        let (claim, about) = claimed(&state, &said).await?;
        let harm = match &about {
            About::Letter(task) => harm(&state, task, &claim).await?,
            About::Question(..) => Vec::new(),
        };
        Ok::<_, ApiError>(page::asks(&said, &claim, &about, &harm))
    };
    match shown.await {
        Ok(page) => html(StatusCode::OK, page.into_string()),
        Err(error) => html(error.status(), page::refused(&error).into_string()),
    }
}

/// What trying a dead letter again would do again that must not be done twice.
async fn harm(state: &State, task: &Task, claim: &Claim) -> Result<Vec<String>, ApiError> {
    let edits = claim.reaction == "edit";
    let all = dlq::happened(&state.world.db, task, dlq::Depth::Outline).await?;
    let again = all.into_iter().filter(|effect| !effect.repeatable && (edits || effect.again));
    Ok(again.map(|effect| format!("{} of {} ({})", effect.kind, effect.agent, effect.state)).collect())
}

/// `POST /approval`: the link's word. JSON from a button, a form from the page.
pub(super) async fn post(Shared(state): Shared<State>, headers: HeaderMap, body: Body) -> Response {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    let answered = async {
        let said = read(body, form).await?;
        let task_id = said.task_id.clone();
        let status = said_of(&state, said).await?;
        Ok::<_, ApiError>(api::Heard { task_id, status: status.into() })
    };
    match (answered.await, form) {
        (Ok(heard), true) => html(StatusCode::OK, page::heard(&heard).into_string()),
        (Ok(heard), false) => Json(heard).into_response(),
        (Err(error), true) => html(error.status(), page::refused(&error).into_string()),
        (Err(error), false) => error.into_response(),
    }
}

async fn read(body: Body, form: bool) -> Result<Said, ApiError> {
    let bytes = to_bytes(body, MOST).await.map_err(|_| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body is above {MOST} bytes"), "send less")
    })?;
    if form {
        return serde_urlencoded::from_bytes(&bytes).map_err(|error| schema(error.to_string(), FIELDS));
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| schema(error.to_string(), FIELDS))
}

/// Does what the link says; what came of it.
async fn said_of(state: &State, said: Said) -> Result<&'static str, ApiError> {
    let hash = Tokens::hash(&said.approval_token);
    let (claim, about) = claimed(state, &said).await?;
    match about {
        About::Question(approval, _) => {
            let reaction = Reaction::named(&claim.reaction).ok_or_else(|| schema("reaction", FIELDS))?;
            if reaction == Reaction::Approve && letter::shown(&approval.request, letter::PAGE).is_none() {
                let message =
                    "what it would do is restricted, so that a link cannot show it: nobody consents to what they do not see";
                return Err(ApiError::new(
                    StatusCode::FORBIDDEN,
                    "not_seen",
                    message,
                    "look at it with `hai awaiting`, and answer there",
                ));
            }
            let word = verdicts::Said { reaction, actor: claim.actor, channel: claim.channel, link: Some(hash), at: id::now() };
            let follows = heard(state, &approval, word).await.inspect_err(|error| {
                metrics::count(metrics::name::TOKENS_REFUSED, 1, &[("reason", error.code)]);
            })?;
            Ok(match follows {
                Follows::Another => "another_needed",
                Follows::Approved => "approved",
                Follows::Rejected => "rejected",
                Follows::Deferred { .. } => "deferred",
            })
        }
        About::Letter(task) => {
            let content = said.content.filter(|text| !text.trim().is_empty());
            if claim.reaction == "edit" && content.is_none() {
                return Err(schema("content: say what it should ask instead", FIELDS));
            }
            let again = said.again.as_deref() == Some("true");
            let done = match claim.reaction.as_str() {
                "discard" => dlq::discarded(state, &claim.actor, &task).await.map(|()| "discarded"),
                "edit" => dlq::tried_again(state, &claim.actor, *task, Wish { content, again }).await.map(|()| "edited"),
                _ => dlq::tried_again(state, &claim.actor, *task, Wish { content: None, again }).await.map(|()| "retried"),
            }?;
            // A letter is answered once, whoever does it: its link is used up after it, so that one which is refused can be used again.
            links::use_up(&state.world.db, hash, claim.subject, id::now()).await?;
            Ok(done)
        }
    }
}

/// A page that loads nothing, sends nobody anywhere, and is kept by nobody.
fn html(status: StatusCode, page: String) -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = (status, Html(page)).into_response();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: the form of the page would be posted from nowhere, and refused.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
