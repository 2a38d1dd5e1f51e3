//! Step 5: does a call need a person's consent, and has it one, unspent, to exactly this call? What is asked is put together here; who
//! answers, and what counts, stands in `policy::approval` and `store::verdicts`.

use policy::approval::{Binding, Question, Undoer, Undoing};
use policy::denied::Denied;
use policy::judge::Granted;
use policy::tier::Label;

use super::act::{Act, Asked, By, Need};
use super::perform::passed;
use super::replay::Since;
use super::{Hop, Stop};
use crate::markup;
use crate::store::journal::Opening;
use crate::store::{Db, approvals};

/// What is on record of a person's consent to a call.
#[derive(Default)]
pub(super) struct Consent {
    /// The approval, and what was consented to.
    given: Option<(String, policy::approval::Consent)>,
    /// Whether the call was sent under it before.
    begun: bool,
    /// The approval that sending it uses up.
    pub(super) spends: Option<String>,
}

/// Why a call does not go on.
pub(super) enum Held {
    /// It is refused.
    Denied(Denied),
    /// A person is asked first.
    Asks(Box<Question>),
}

/// What an agent says, on one line: a line break would let it write what looks like a line of the host's.
fn one_line(text: &str) -> String {
    let plain = markup::visible(text).replace(char::is_control, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is on record of a person's consent to a call that is in the journal.
pub(super) async fn consent(db: Db, opening: &Opening, since: &Since) -> Result<Consent, Stop> {
    let given = approvals::consent(&db, &opening.at).await.map_err(|error| Stop::Store(error.to_string()))?;
    Ok(Consent { given, begun: since.begun, spends: None })
}

/// Step 5. Does it need a person's consent, and has it one, unspent, to exactly this call?
pub(super) fn approved<C: Act>(
    hop: &Hop,
    label: Label,
    granted: Granted<C>,
    (opening, consent): (&Opening, &mut Consent),
) -> Result<Granted<C>, Held> {
    passed("approval", C::KIND);
    let by = By { grant: &hop.grant, label, asker: &hop.asker };
    let Need::Consent(asked) = granted.call().consent(&hop.world, &by).map_err(Held::Denied)? else { return Ok(granted) };
    if !hop.beyond.is_live() {
        return Err(Held::Denied(Denied {
            rule: "rehearsal",
            said: format!("this {} would wait for a person's consent", C::KIND),
            at: "host rehearse --live".into(),
            hint: "nobody is asked in a rehearsal".into(),
        }));
    }
    let (fingerprint, agent, digest) = (opening.fingerprint.clone(), hop.grant.agent().to_owned(), hop.digest.clone());
    let binding = Binding { fingerprint, agent, digest, label };
    if let Some((id, given)) = &consent.given
        && given.allows(&binding, asked.class, consent.begun)
    {
        consent.spends = (!given.spent).then(|| id.clone());
        return Ok(granted);
    }
    let clean = |text: String| hop.clean("a question", text);
    let undo = asked.undo.map(|undo| match undo.by {
        Undoer::Agent => Undoing { text: one_line(&clean(undo.text)), ..undo },
        // A call, to the letter.
        Undoer::Rule => Undoing { text: clean(undo.text), ..undo },
    });
    let Asked { class, because, why, usd_micros, .. } = asked;
    Err(Held::Asks(Box::new(Question { class, because, why: one_line(&clean(why)), undo, usd_micros, binding })))
}
