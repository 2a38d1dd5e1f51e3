//! Whether what agents claim rests on something that was looked at (design §9): a claim cites a call of its task, and that call must
//! have succeeded and speak of what the claim is about. Judges words against the journal, never whether they are true.

use serde_json::Value;

use crate::task::Citation;

/// A call that a claim may cite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called<'c> {
    /// Its `ref`.
    pub reference: &'c str,
    /// `interface.function`.
    pub kind: &'c str,
    /// Whether it succeeded: a tool that failed by itself has not.
    pub succeeded: bool,
    /// Whether it changed something.
    pub acts: bool,
    /// What was asked for, as sent.
    pub request: &'c str,
    /// What came back.
    pub answer: &'c str,
}

impl Called<'_> {
    /// Whether it reached something outside of the run: a model knows nothing of the house.
    fn reaches(&self) -> bool {
        ["tools.call", "vault.", "memory."].iter().any(|kind| self.kind.starts_with(kind))
    }

    /// Whether it looked at something, and saw it.
    #[must_use]
    pub fn is_look(&self) -> bool {
        self.reaches() && self.succeeded && !self.acts
    }
}

/// Why a claim is not backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbacked {
    /// The task made no such call.
    NoSuchCall,
    /// It asked a model, or nobody.
    NotALook,
    /// It failed, or was refused.
    Failed,
    /// Neither what was asked nor what came back speaks of it.
    NotAboutIt,
}

impl Unbacked {
    /// As a sentence for whoever reads the report.
    #[must_use]
    pub fn said(self) -> &'static str {
        match self {
            Self::NoSuchCall => "there is no such call",
            Self::NotALook => "that call looked at nothing",
            Self::Failed => "that call did not succeed",
            Self::NotAboutIt => "that call says nothing about it",
        }
    }
}

/// Whether a citation is backed by the calls of its task.
///
/// # Errors
/// [`Unbacked`] says why not.
pub fn backed(citation: &Citation, calls: &[Called<'_>]) -> Result<(), Unbacked> {
    let call = calls.iter().find(|call| call.reference == citation.reference).ok_or(Unbacked::NoSuchCall)?;
    if !call.reaches() {
        return Err(Unbacked::NotALook);
    }
    if !call.succeeded {
        return Err(Unbacked::Failed);
    }
    let subject = folded(&citation.subject);
    // What an agent wrote itself proves that it wrote, and where.
    let request = serde_json::from_str(call.request).unwrap_or_default();
    let about = if call.acts { named(&request) } else { words(&request) };
    let answer = words(&serde_json::from_str(call.answer).unwrap_or_default());
    if [about, answer].iter().any(|text| mentions(&folded(text), &subject)) { Ok(()) } else { Err(Unbacked::NotAboutIt) }
}

/// What a call that changes something is about: its tool or its path, not the words that it carries.
fn named(request: &Value) -> String {
    let about = ["tool", "path"].iter().filter_map(|key| request.get(key)?.as_str());
    about.collect::<Vec<_>>().join("\n")
}

/// Everything that a JSON value says, names and values, each on its own; also what is JSON within a text of it.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => words(&inner),
            Ok(_) | Err(_) => text.clone(),
        },
        Value::Array(all) => all.iter().map(words).collect::<Vec<_>>().join("\n"),
        Value::Object(all) => all.iter().map(|(name, one)| format!("{name}\n{}", words(one))).collect::<Vec<_>>().join("\n"),
    }
}

/// Whether a text speaks of a subject. A short one must stand by itself: `nas` is no part of `unassigned`.
fn mentions(text: &str, subject: &str) -> bool {
    const SHORT: usize = 4;
    let letters = subject.chars().count();
    let alone = |(at, found): (usize, &str)| {
        let before = text[..at].chars().next_back().is_some_and(char::is_alphanumeric);
        let after = text[at + found.len()..].chars().next().is_some_and(char::is_alphanumeric);
        !before && !after
    };
    letters > 1 && text.match_indices(subject).any(|found| letters >= SHORT || alone(found))
}

/// Without regard to case, nor to what a model that quotes JSON may write or leave out: `\` and `"`.
fn folded(text: &str) -> String {
    text.trim().to_lowercase().replace(['\\', '"'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look<'c>(reference: &'c str, kind: &'c str) -> Called<'c> {
        let (request, answer) =
            (r#"{"arguments":{"namespace":"media"},"tool":"kubectl_get_pods"}"#, r#"{"text":"Jellyfin-0 Running"}"#);
        Called { reference, kind, succeeded: true, acts: false, request, answer }
    }

    fn cites(reference: &str, subject: &str) -> Citation {
        Citation { reference: reference.into(), subject: subject.into(), claim: "it runs".into() }
    }

    #[test]
    fn a_claim_rests_on_a_look_that_succeeded_and_speaks_of_it() {
        let failed = Called { succeeded: false, ..look("1.1.3", "tools.call") };
        let calls = [look("1.1.1", "tools.call"), look("1.1.2", "model.complete"), failed, look("1.1.4", "vault.read")];
        let judged = |reference, subject| backed(&cites(reference, subject), &calls);
        assert_eq!(judged("1.1.1", "jellyfin-0"), Ok(()));
        assert_eq!(judged("1.1.1", "media"), Ok(()));
        assert_eq!(judged("1.1.4", "Jellyfin-0"), Ok(()));
        assert_eq!(judged("1.1.1", "plex"), Err(Unbacked::NotAboutIt));
        assert_eq!(judged("1.1.1", " "), Err(Unbacked::NotAboutIt), "a claim about nothing is about nothing");
        assert_eq!(judged("1.1.2", "media"), Err(Unbacked::NotALook));
        assert_eq!(judged("1.1.3", "media"), Err(Unbacked::Failed));
        assert_eq!(judged("2.1.1", "media"), Err(Unbacked::NoSuchCall));
    }

    #[test]
    fn a_short_subject_stands_by_itself() {
        let answer = r#"{"text":"3 shards unassigned, in all:\nnas ok","data":"{\"dns\":[\"pve\"],\"log\":\"late:\\nups\"}"}"#;
        let call = Called { answer, ..look("1.1.1", "tools.call") };
        let judged = |subject| backed(&cites("1.1.1", subject), std::slice::from_ref(&call));
        assert_eq!(["nas", "ok", "dns", "pve", "ups", "assigned"].map(judged), [Ok(()); 6]);
        assert_eq!(["e", "ass", "sha", "rds", "3"].map(judged), [Err(Unbacked::NotAboutIt); 5]);
    }

    #[test]
    fn what_an_agent_wrote_itself_backs_nothing_but_that_it_wrote() {
        let wrote = |request| Called { acts: true, request, answer: "{}", ..look("1.1.1", "vault.write") };
        let note = wrote(r#"{"body":"jellyfin was OOMKilled","path":"inbox/drafts/a.md"}"#);
        assert_eq!(backed(&cites("1.1.1", "jellyfin"), std::slice::from_ref(&note)), Err(Unbacked::NotAboutIt));
        assert_eq!(backed(&cites("1.1.1", "inbox/drafts/a.md"), &[note]), Ok(()));
        let called = Called { kind: "tools.call", ..wrote(r#"{"arguments":{"note":"jellyfin is fine"},"tool":"memory_add"}"#) };
        assert_eq!(backed(&cites("1.1.1", "jellyfin"), std::slice::from_ref(&called)), Err(Unbacked::NotAboutIt));
        assert_eq!(backed(&cites("1.1.1", "memory_add"), &[called]), Ok(()));
    }

    #[test]
    fn letters_that_json_escapes_are_the_same_letters() {
        let call = Called { request: r#"{"path":"C:\\temp"}"#, answer: r#"{"text":"say \"hi\""}"#, ..look("1.1.1", "tools.call") };
        assert_eq!(backed(&cites("1.1.1", r#"say "hi""#), std::slice::from_ref(&call)), Ok(()));
        assert_eq!(backed(&cites("1.1.1", r"c:\temp"), &[call]), Ok(()));
    }

    #[test]
    fn only_what_looked_and_saw_is_a_look() {
        assert!(look("1", "tools.call").is_look() && look("1", "vault.search").is_look());
        assert!(!look("1", "model.complete").is_look() && !look("1", "tools.search").is_look());
        assert!(!Called { acts: true, ..look("1", "tools.call") }.is_look());
        assert!(!Called { succeeded: false, ..look("1", "tools.call") }.is_look());
        let words = [Unbacked::NoSuchCall, Unbacked::NotALook, Unbacked::Failed, Unbacked::NotAboutIt].map(Unbacked::said);
        assert!(words.iter().all(|word| word.starts_with("th")), "{words:?}");
    }
}
