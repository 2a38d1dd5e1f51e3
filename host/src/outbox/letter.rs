//! What a message says, in words: read from the rows when it is sent, opened only as far as its sink may see, and harmless to look at.
//!
//! Says what happened, never more; decides nothing.

use policy::approval::{Question, Undoer};
use policy::class::Class;
use policy::task::{ApprovalStatus, Reaction, Role, Status, Timestamp};
use policy::tier::{Clearance, Labelled, Tier};

use super::token::{Claim, Tokens};
use crate::markup::{self, Eyes, Links};
use crate::sink::{Button, Kind, Message, Sink, Urgency};
use crate::store::approvals::{self, Approval};
use crate::store::deliveries::Due;
use crate::store::links;
use crate::store::tasks::{self, Task};
use crate::store::{Db, StoreError};

/// Most bytes of a call that a push shows whole: a person consents to nothing that they did not see.
const WHOLE: usize = 1500;
/// Most letters of what was asked.
const ASKED: usize = 200;
/// Most letters of what an agent says of its call, and of what would undo it.
const CLAIMED: usize = 600;
/// For how long a dead letter's links work, in milliseconds.
const LETTER_LINKS: i64 = 7 * 24 * 3_600_000;
/// What a page behind a link may show: whoever has the link is not the operator by that alone.
pub const PAGE: Clearance = Clearance(Tier::Internal);

/// Writes messages.
#[derive(Clone)]
pub struct Letters {
    tokens: Tokens,
    links: Links,
    /// In whose name links speak: the operator's.
    operator: String,
}

impl Letters {
    /// Signs links with `tokens`, in that operator's name.
    #[must_use]
    pub fn new(tokens: Tokens, links: Links, operator: String) -> Self {
        Self { tokens, links, operator }
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn operator(&self) -> &str {
        &self.operator
    }

    /// What is to be said; `None` if there is nothing to say any more.
    pub(super) async fn write(&self, db: &Db, due: &Due, sink: &Sink) -> Result<Option<Message>, StoreError> {
        let Some(kind) = Kind::named(&due.kind) else { return Ok(None) };
        if kind == Kind::Notice && due.task.is_empty() {
            return Ok(Some(self.notice(due)));
        }
        let Some(task) = tasks::find(db, &due.task).await?.filter(|task| task.forgotten_at.is_none()) else { return Ok(None) };
        match kind {
            Kind::Approval | Kind::Reminder => {
                let Some(approval) = approvals::find(db, &due.about).await? else { return Ok(None) };
                let open = approval.status == ApprovalStatus::Open;
                match (open, approval.kind.as_str()) {
                    (false, _) => Ok(None),
                    (true, approvals::CALL) => self.asks(db, due, sink, (kind, &task, &approval)).await.map(Some),
                    (true, _) => Ok(Some(self.unknown(due, sink, (&task, &approval)))),
                }
            }
            Kind::Report => Ok((task.status == Status::Done).then(|| self.report(due, sink, &task)).flatten()),
            Kind::DeadLetter if task.status == Status::Failed && task.discarded_at.is_none() => {
                self.dead(db, due, sink, &task).await.map(Some)
            }
            Kind::Expired if task.status == Status::Expired => Ok(Some(self.expired(due, sink, &task))),
            Kind::Notice => Ok(self.household(due, sink, &task)),
            Kind::DeadLetter | Kind::Expired => Ok(None),
        }
    }

    fn message(&self, due: &Due, kind: Kind, title: String, text: String) -> Message {
        Message {
            key: due.id.clone(),
            task: due.task.clone(),
            kind,
            title,
            text: self.links.harmless(&text, Eyes::Reader),
            urgency: Urgency::Normal,
            tags: Vec::new(),
            buttons: Vec::new(),
            open: (!due.task.is_empty()).then(|| self.timeline(&due.task)),
            to: None,
        }
    }

    fn timeline(&self, task: &str) -> String {
        format!("{}/tasks/{task}", self.tokens.base())
    }

    fn notice(&self, due: &Due) -> Message {
        Message { urgency: Urgency::High, ..self.message(due, Kind::Notice, "HomeAIOps".into(), due.about.clone()) }
    }

    /// A question before a call, with buttons if the whole call is there to be seen.
    async fn asks(
        &self,
        db: &Db,
        due: &Due,
        sink: &Sink,
        (kind, task, approval): (Kind, &Task, &Approval),
    ) -> Result<Message, StoreError> {
        let sees = sink.clearance();
        let call = told_whole(&approval.request, sees);
        // Nothing is approved by a link whose page could not show it.
        let whole = call.is_some() && shown(&approval.request, PAGE).is_some();
        let label = agent(&approval.agent);
        let mut lines = Vec::new();
        if approval.role == Role::Household.as_str() {
            lines.push(format!("For the household: {} asks", approval.requester));
        }
        lines.push(format!("You asked: {}", cut(&opened(&task.content, sees), ASKED)));
        lines.push(match call {
            Some(call) => format!("Proposed: {} `{call}`", approval.call),
            None => format!("Proposed: {} (open it to see the whole call)", approval.call),
        });
        if let Some(question) = &approval.question {
            lines.extend(about(question, sees));
        }
        let claim = |reaction: Reaction| Claim {
            subject: approval.id.clone(),
            reaction: reaction.as_str().into(),
            channel: sink.name().as_str().into(),
            actor: self.operator.clone(),
            // The question's own end counts, and may be put off; each message has links of its own.
            expires_at: due.created_at.plus(policy::approval::MOST * if approval.expires_at.is_some() { 1 } else { 52 }),
        };
        let claims = [Reaction::Approve, Reaction::Reject, Reaction::Defer].map(claim);
        let hashes = claims.iter().map(|claim| Tokens::hash(&self.tokens.sign(claim))).collect();
        links::add(db, approval.id.clone(), hashes).await?;
        let buttons = claims.iter().map(|claim| self.button(&task.id, claim, whole)).collect();
        let class = class(approval);
        let (title, tag) = match kind == Kind::Reminder {
            true => (format!("Still waiting for you: {label} ({})", task.id), "alarm_clock"),
            false => (format!("{label} needs approval"), "warning"),
        };
        let mut tags = vec![tag.to_owned()];
        if class == Some(Class::D) {
            tags.push("rotating_light".into());
        }
        let open = claims.first().map(|claim| self.tokens.page(&task.id, claim));
        Ok(Message { tags, buttons, open, ..self.message(due, kind, title, lines.join("\n")) })
    }

    /// A question whether a call has happened. No button answers it: whoever does has looked.
    fn unknown(&self, due: &Due, sink: &Sink, (task, approval): (&Task, &Approval)) -> Message {
        let sees = sink.clearance();
        let call = told_whole(&approval.request, sees);
        let text = format!(
            "You asked: {}\nSent, and never answered: {} {}\nLook whether it happened, then say: hai answer {} retry | done | fail",
            cut(&opened(&task.content, sees), ASKED),
            approval.call,
            call.map_or_else(|| "[restricted]".to_owned(), |call| format!("`{call}`")),
            approval.id
        );
        let title = format!("{}: did it happen?", agent(&approval.agent));
        Message { urgency: Urgency::High, tags: vec!["question".into()], ..self.message(due, Kind::Approval, title, text) }
    }

    /// A button that decides at once if the whole call was seen; to approve what was not, the page is opened first.
    fn button(&self, task: &str, claim: &Claim, whole: bool) -> Button {
        let page = self.tokens.page(task, claim);
        let (label, at_once) = match claim.reaction.as_str() {
            "approve" if whole => ("Approve", true),
            "approve" => ("Open to approve", false),
            "reject" => ("Reject", true),
            _ => ("Defer 4h", true),
        };
        if !at_once {
            return Button { label: label.into(), url: page.clone(), body: None, link: page };
        }
        let body = serde_json::json!({
            "task_id": task, "reaction": claim.reaction, "approval_token": self.tokens.sign(claim), "actor": claim.actor,
        });
        Button { label: label.into(), url: format!("{}/approval", self.tokens.base()), body: Some(body.to_string()), link: page }
    }

    /// What came of a task, for whoever asked.
    fn report(&self, due: &Due, sink: &Sink, task: &Task) -> Option<Message> {
        let sees = clearance(sink, task);
        let output = task.output.as_ref().map(|output| opened(output, sees)).unwrap_or_default();
        let text = match output.trim() {
            "" => "✅ It finished, without anything to say.".to_owned(),
            text => text.to_owned(),
        };
        let took = task.finished_at.zip(task.started_at).map_or_else(|| "done".into(), |(end, start)| lasted(end.since(start)));
        let text = format!("{text}\n\n---\n*{took} · {}*", task.id);
        let message = self.message(due, Kind::Report, "Done".into(), text);
        self.addressed(sink, task, message)
    }

    /// Who is told of a task: the one who asked, where the service knows them; the operator of everything but what the household asked.
    fn addressed(&self, sink: &Sink, task: &Task, message: Message) -> Option<Message> {
        match (sink, task.role) {
            (Sink::Zulip(_), Role::Household) => task.zulip_user_id.map(|to| Message { to: Some(to), open: None, ..message }),
            (Sink::Zulip(_), Role::Operator | Role::System) => Some(Message { to: task.zulip_user_id, ..message }),
            (Sink::Ntfy(_) | Sink::Pushover(_), Role::Household) => None,
            (Sink::Ntfy(_) | Sink::Pushover(_) | Sink::Webhook(_), _) => Some(message),
        }
    }

    /// A friendly line for a member of the household on how their wish stands.
    fn household(&self, due: &Due, sink: &Sink, task: &Task) -> Option<Message> {
        let news = due.about == task.status.as_str();
        if task.role != Role::Household || !matches!(sink, Sink::Zulip(_)) || !news {
            return None;
        }
        let text = match task.status {
            Status::AwaitingApproval => "I have asked about that: somebody has to say yes first. You will hear from me.",
            Status::Expired => "Nobody could answer that in time, so nothing was done. Ask me again if you still want it.",
            Status::Failed => "That did not work, I am sorry. The operator knows of it.",
            Status::Cancelled => "That was called off, so I go no further with it. Ask the operator if you still want it.",
            Status::Pending | Status::Running | Status::AwaitingBackend | Status::Done => return None,
        };
        self.addressed(sink, task, self.message(due, Kind::Notice, "HomeAIOps".into(), text.to_owned()))
    }

    /// A task that failed: the last error, and what can be done about it.
    async fn dead(&self, db: &Db, due: &Due, sink: &Sink, task: &Task) -> Result<Message, StoreError> {
        let sees = sink.clearance();
        let (code, why) = task.error.as_ref().map_or(("", String::new()), |(code, why)| (code.as_str(), opened(why, sees)));
        let text = format!(
            "You asked: {}\n{code}: {}\nTimeline: {}",
            cut(&opened(&task.content, sees), ASKED),
            cut(&why, 600),
            self.timeline(&task.id)
        );
        let claims = ["retry", "edit", "discard"].map(|reaction| Claim {
            subject: task.id.clone(),
            reaction: reaction.into(),
            channel: sink.name().as_str().into(),
            actor: self.operator.clone(),
            expires_at: letter_ends(task),
        });
        let hashes = claims.iter().map(|claim| Tokens::hash(&self.tokens.sign(claim))).collect();
        links::add(db, task.id.clone(), hashes).await?;
        let button = |(claim, label): (&Claim, &str)| {
            let page = self.tokens.page(&task.id, claim);
            Button { label: label.into(), url: page.clone(), body: None, link: page }
        };
        let buttons = claims.iter().zip(["Retry", "Edit", "Discard"]).map(button).collect();
        let message = self.message(due, Kind::DeadLetter, format!("A task failed: {code}"), text);
        Ok(Message { urgency: Urgency::High, tags: vec!["x".into()], buttons, ..message })
    }

    fn expired(&self, due: &Due, sink: &Sink, task: &Task) -> Message {
        let sees = sink.clearance();
        let why = task.error.as_ref().map(|(_, why)| opened(why, sees)).unwrap_or_default();
        let text = format!("You asked: {}\n{why}\nTask: {}", cut(&opened(&task.content, sees), ASKED), task.id);
        let message = self.message(due, Kind::Expired, "Nobody answered in time: nothing was done".into(), text);
        Message { urgency: Urgency::High, tags: vec!["hourglass".into()], ..message }
    }
}

/// Until when the links of a dead letter work: by this they are known to be about this failure, and no later one.
#[must_use]
pub fn letter_ends(task: &Task) -> Timestamp {
    task.finished_at.unwrap_or(task.created_at).plus(LETTER_LINKS)
}

/// What a question says beside its call.
pub fn about(question: &Labelled<Question>, sees: Clearance) -> Vec<String> {
    let withheld = |_| vec!["Why: [restricted]".to_owned()];
    let said = |question: &Question| {
        let undo = match &question.undo {
            Some(undo) if undo.by == Undoer::Rule => undo.text.clone(),
            Some(undo) => format!("{} (its agent says so)", undo.text),
            None => "(none)".into(),
        };
        #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call")]
        let cost = question.usd_micros.map_or_else(|| "not known".into(), |usd| format!("${:.2}", usd as f64 / 1e6));
        let why = if question.why.is_empty() { "(it does not say)" } else { &question.why };
        // What the host knows comes before what the agent claims: if a service cuts the text, it cuts that.
        vec![
            format!("Class: {}", meaning(question.class)),
            format!("Because: {}", question.because),
            format!("Undo: {}", cut(&markup::visible(&undo), CLAIMED)),
            format!("Cost: {cost}"),
            format!("Why: {}", cut(why, CLAIMED)),
        ]
    };
    question.open(sees).map_or_else(withheld, said)
}

/// A class as people read it (`homeaiops.md` §8.1).
#[must_use]
pub fn meaning(class: Class) -> &'static str {
    match class {
        Class::A => "🟢 A: it looks",
        Class::B => "🟢 B: a reversible write",
        Class::C => "🟡 C: a change that wants a look first",
        Class::D => "🔴 D: destructive or irreversible; two people's words are needed, through two channels",
    }
}

fn class(approval: &Approval) -> Option<Class> {
    approval.question.as_ref().and_then(|question| question.open(Clearance::OPERATOR).ok()).map(|question| question.class)
}

/// What a sink may see of a task: a household's own are never above what the household may see.
fn clearance(sink: &Sink, task: &Task) -> Clearance {
    let sees = sink.clearance();
    if task.role == Role::Household { sees.min(Clearance::HOUSEHOLD) } else { sees }
}

fn opened(text: &Labelled<String>, sees: Clearance) -> String {
    text.open(sees).cloned().unwrap_or_else(|withheld| withheld.to_string())
}

/// A call as it would be sent, if it may be seen; letters that hide are written out.
#[must_use]
pub fn shown(request: &Labelled<serde_json::Value>, sees: Clearance) -> Option<String> {
    let request = request.open(sees).ok()?;
    Some(markup::visible(&serde_json_canonicalizer::to_string(request).unwrap_or_else(|_| request.to_string())))
}

/// A call as it would be sent, if it may be seen, and whole, in a message.
#[must_use]
pub fn told_whole(request: &Labelled<serde_json::Value>, sees: Clearance) -> Option<String> {
    shown(request, sees).filter(|call| call.len() <= WHOLE)
}

/// An agent's id as a name: `homelab-engineer` is "Homelab engineer".
#[must_use]
pub fn agent(id: &str) -> String {
    let words = id.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn cut(text: &str, most: usize) -> String {
    let text = text.trim().replace(char::is_control, " ");
    if text.chars().count() <= most { text } else { text.chars().take(most).chain(['…']).collect() }
}

/// `46s`, `4m 24s`.
fn lasted(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m {}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_people_read_them() {
        assert_eq!((agent("homelab-engineer").as_str(), agent("").as_str()), ("Homelab engineer", ""));
        assert_eq!([0, 46_900, 264_000].map(lasted), ["0s", "46s", "4m 24s"]);
        assert_eq!((cut("a\nb ", 9).as_str(), cut("äöü", 2).as_str()), ("a b", "äö…"));
    }
}
