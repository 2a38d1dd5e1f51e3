//! The pages behind links, for a phone: what will happen, one button, nothing else. They show no more than a link may ([`letter::PAGE`]).

use maud::{DOCTYPE, Markup, PreEscaped, html};
use policy::task::ApprovalStatus;
use policy::tier::Labelled;

use super::error::ApiError;
use super::link::{About, Said};
use crate::api;
use crate::outbox::{Claim, letter};

const STYLE: &str = "
:root { color-scheme: light dark; font: 17px/1.45 system-ui, sans-serif }
body { margin: 0 auto; max-width: 40rem; padding: 1rem }
h1 { font-size: 1.25rem } dt { font-weight: 600; margin-top: .8rem } dd { margin: 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; border-radius: .4rem; padding: .7rem; font-size: .9rem }
button { width: 100%; min-height: 3rem; font: inherit; font-weight: 600; border: 0; border-radius: .5rem; color: #fff; background: #1b6e3c }
button.reject { background: #a12626 } button.defer { background: #555 } textarea { width: 100%; box-sizing: border-box; font: inherit }
.note { border-left: 4px solid #c77700; padding-left: .7rem } .quiet { color: #777; font-size: .85rem }
";

fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (body) } }
        }
    }
}

/// What a link's token was refused for.
pub(super) fn refused(error: &ApiError) -> Markup {
    let body = html! { p { (error.message()) } p class="quiet" { (error.hint()) } };
    page("Nothing was done", &body)
}

/// What came of a word.
pub(super) fn heard(heard: &api::Heard) -> Markup {
    let said = match heard.status.as_str() {
        "approved" => "Approved. It is being done now.",
        "another_needed" => "Your yes counts. It takes a second one, through another channel, before anything is done.",
        "rejected" => "Rejected. It will not be done.",
        "deferred" => "Put off for 4 hours.",
        "retried" => "It is tried again.",
        "edited" => "It starts anew with the new text.",
        _ => "It is taken from the list.",
    };
    page(said, &html! { p class="quiet" { "Task " (heard.task_id) } })
}

/// What will happen if the button is pressed.
pub(super) fn asks(said: &Said, claim: &Claim, about: &About, harm: &[String]) -> Markup {
    match about {
        About::Question(approval, task) if approval.status == ApprovalStatus::Open => {
            let call = letter::shown(&approval.request, letter::PAGE);
            let seen = call.is_some();
            let title = match claim.reaction.as_str() {
                "approve" => "Let this happen?",
                "reject" => "Reject this?",
                _ => "Put this off for 4 hours?",
            };
            let body = html! {
                @if approval.role == "household" { p class="note" { "For the household: " (approval.requester) " asks." } }
                dl {
                    dt { (letter::agent(&approval.agent)) " wants" }
                    dd {
                        (approval.call)
                        @match &call {
                            Some(call) => pre { (call) },
                            None => p class="note" { "What it would do is restricted: look at it with `hai awaiting`, and answer there." },
                        }
                    }
                    @if let Some(question) = &approval.question {
                        @for line in letter::about(question, letter::PAGE) {
                            @let (name, text) = line.split_once(": ").unwrap_or(("", &line));
                            dt { (name) }
                            dd { (text) }
                        }
                    }
                    dt { "You asked" }
                    dd { (opened(&task.content)) }
                }
                // Nobody consents to what they do not see; a no needs no look.
                @if seen || claim.reaction != "approve" { (form(said, claim, harm)) }
                (small(said))
            };
            page(title, &body)
        }
        About::Question(approval, _) => {
            let by = approval.actor.as_deref().unwrap_or("the end of its task");
            page("It was answered already", &html! { p { "By " (by) "." } (small(said)) })
        }
        About::Letter(task) => {
            let (code, why) = task.error.as_ref().map_or(("", String::new()), |(code, why)| (code.as_str(), opened(why)));
            let title = match claim.reaction.as_str() {
                "retry" => "Try this again?",
                "edit" => "Ask something else instead?",
                _ => "Take this from the list?",
            };
            let body = html! {
                dl { dt { "You asked" } dd { (opened(&task.content)) } dt { "It failed" } dd { (code) pre { (why) } } }
                (form(said, claim, harm))
                (small(said))
            };
            page(title, &body)
        }
    }
}

fn small(said: &Said) -> Markup {
    html! { p class="quiet" { "Task " (said.task_id) ", answered as " (said.actor) ". Opening this page decided nothing." } }
}

fn form(said: &Said, claim: &Claim, harm: &[String]) -> Markup {
    let label = match claim.reaction.as_str() {
        "approve" => "Approve",
        "reject" => "Reject",
        "defer" => "Defer 4 h",
        "retry" if harm.is_empty() => "Retry",
        "retry" => "Retry although it may do that again",
        "edit" if harm.is_empty() => "Start anew",
        "edit" => "Start anew although it may do that again",
        _ => "Discard",
    };
    let harms = !harm.is_empty() && claim.reaction != "discard";
    html! {
        form method="post" action="/approval" {
            @for (name, value) in [
                ("task_id", &said.task_id), ("reaction", &said.reaction), ("approval_token", &said.approval_token), ("actor", &said.actor),
            ] {
                input type="hidden" name=(name) value=(value);
            }
            @if claim.reaction == "edit" { p { textarea name="content" rows="5" required aria-label="The new text" {} } }
            @if harms {
                p class="note" { "It has done, or may have done, what must not be done twice:" ul { @for one in harm { li { (one) } } } }
                input type="hidden" name="again" value="true";
            }
            p { button type="submit" class=(claim.reaction) { (label) } }
        }
    }
}

fn opened(text: &Labelled<String>) -> String {
    text.open(letter::PAGE).cloned().unwrap_or_else(|withheld| withheld.to_string())
}
