//! `POST /bridges/zulip`: what the operator answers the bot, in the format of Zulip's outgoing webhooks. Here a reply is a word on a
//! question (`approve ID`, `reject ID`, `defer ID`), and nothing else: the channel is `zulip`, and so is that of its links.
//!
//! Zulip signs nothing; it says the token that it gave the bot. Whoever else calls is refused, and so is every sender but the operator.

use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use policy::approval::Follows;
use policy::task::Reaction;
use policy::tier::Clearance;
use serde::{Deserialize, Serialize};

use super::State;
use super::approvals::{found, heard};
use super::body;
use super::error::ApiError;
use crate::outbox::letter;
use crate::store::approvals::{self, Filter};
use crate::store::verdicts;
use crate::{id, metrics};

const HELP: &str = "I understand `approve ID`, `reject ID` and `defer ID`; `hai awaiting` lists what waits.";

/// What Zulip posts; the rest of it is nothing to us.
#[derive(Deserialize)]
struct Posted {
    token: String,
    message: Message,
    /// The text, without the mention of the bot.
    data: String,
}

#[derive(Deserialize)]
struct Message {
    sender_id: i64,
}

/// What the bot says in reply.
#[derive(Serialize)]
pub(super) struct Reply {
    content: String,
}

/// Takes a reply.
pub(super) async fn post(Shared(state): Shared<State>, body: Body) -> Result<Json<Reply>, ApiError> {
    let Some(zulip) = &state.config.sinks.zulip else { return Err(ApiError::not_found("bridge", "zulip")) };
    let Some(token) = &zulip.webhook_token else { return Err(ApiError::not_found("bridge", "zulip")) };
    let posted: Posted =
        body::read(body, "Zulip's outgoing webhook posts this").await?.ok_or_else(|| body::schema("the body is empty", ""))?;
    // Digests are compared: how long that takes says nothing about the token.
    if id::sha256(posted.token.as_bytes()) != id::sha256(token.as_bytes()) {
        metrics::count(metrics::name::TOKENS_REFUSED, 1, &[("reason", "zulip")]);
        let hint = "set the variable of webhook_token_env in [sinks.zulip] to the token of the bot's outgoing webhook";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", "the token is not the bot's", hint));
    }
    if posted.message.sender_id != zulip.user {
        return Ok(said("Only the operator answers here."));
    }
    match word(&posted.data) {
        Some((reaction, id)) => answered(&state, (reaction, zulip.clearance), &id).await,
        None => Ok(said(HELP)),
    }
}

fn said(content: impl Into<String>) -> Json<Reply> {
    Json(Reply { content: content.into() })
}

/// `approve 01J…`, beside mentions of the bot, whose name may have several words.
#[must_use]
pub fn word(text: &str) -> Option<(Reaction, String)> {
    let said = unmentioned(text);
    let mut words = said.split_whitespace();
    let reaction = match words.next()?.to_lowercase().as_str() {
        "approve" => Reaction::Approve,
        "reject" | "deny" => Reaction::Reject,
        "defer" => Reaction::Defer,
        _ => return None,
    };
    let id = words.next()?.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_uppercase();
    // A second thought behind the id is no plain word.
    words.next().is_none().then_some((reaction, id))
}

/// A text without its mentions, which Zulip writes `@**Name of the bot**`.
fn unmentioned(text: &str) -> String {
    let mut left = text;
    let mut kept = String::new();
    while let Some((before, after)) = left.split_once("@**").and_then(|(before, rest)| Some((before, rest.split_once("**")?.1))) {
        kept.push_str(before);
        kept.push(' ');
        left = after;
    }
    kept + left
}

/// A word on the question of that id, or of that task if only one waits.
async fn answered(state: &State, (reaction, sees): (Reaction, Clearance), id: &str) -> Result<Json<Reply>, ApiError> {
    let db = &state.world.db;
    let approval = match found(state, id).await {
        Ok(approval) => approval,
        Err(_) => {
            let open = Filter {
                status: Some(policy::task::ApprovalStatus::Open),
                task: Some(id.to_owned()),
                limit: 2,
                ..Filter::default()
            };
            let mut of_task = approvals::list(db, open).await?;
            match (of_task.pop(), of_task.is_empty()) {
                (Some(only), true) => only,
                _ => return Ok(said(format!("Nothing of that id waits for you. {HELP}"))),
            }
        }
    };
    if approval.kind != approvals::CALL {
        return Ok(said(format!(
            "That is about a call that may have happened already: `hai answer {} retry | done | fail`.",
            approval.id
        )));
    }
    if reaction == Reaction::Approve && letter::told_whole(&approval.request, sees).is_none() {
        return Ok(said("Its message could not show the whole call. Open its link, or use `hai awaiting`, and answer there."));
    }
    let actor = state.world.outbox.operator().to_owned();
    let word = verdicts::Said { reaction, actor, channel: "zulip".into(), link: None, at: id::now() };
    Ok(said(match heard(state, &approval, word).await {
        Ok(Follows::Approved) => "Approved. It is being done now.".to_owned(),
        Ok(Follows::Another) => "Your yes counts. It takes a second one, through another channel.".into(),
        Ok(Follows::Rejected) => "Rejected. It will not be done.".into(),
        Ok(Follows::Deferred { .. }) => "Put off for 4 hours.".into(),
        Err(error) if error.is_the_callers() => format!("Nothing was done: {}.", error.message()),
        Err(error) => return Err(error),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_plain_or_none() {
        let id = || "01ABC".to_owned();
        for (text, expected) in [
            ("approve 01ABC", Some((Reaction::Approve, id()))),
            ("@**homeaiops** Reject `01abc`.", Some((Reaction::Reject, id()))),
            ("@**Home AI ops|8** approve 01ABC", Some((Reaction::Approve, id()))),
            ("approve 01ABC @**Home AI ops**", Some((Reaction::Approve, id()))),
            ("@**Home AI ops approve 01ABC", None),
            ("@**approve 01ABC**", None),
            ("deny 01ABC", Some((Reaction::Reject, id()))),
            ("defer 01ABC", Some((Reaction::Defer, id()))),
            ("approve", None),
            ("approve 01ABC but only tomorrow", None),
            ("please approve 01ABC", None),
            ("", None),
        ] {
            assert_eq!(word(text), expected, "{text}");
        }
    }
}
