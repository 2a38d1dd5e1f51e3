//! WIT `approvals` ⇄ the people of the house: a plan that an agent wants consent to. The question itself is that of step 5 of `perform`;
//! consent to a plan is none to the calls that it names.

use policy::approval::{Undoer, Undoing};
use policy::call::{CallError, Propose};
use policy::class::Class;
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::tier::{Clearance, Tier};
use serde::{Deserialize, Serialize};

use super::act::{Act, Asked, By, Failed, Need, Reply, Who};
use super::model::error;
use super::perform::{perform, refuse};
use super::wit::homeaiops::agent::approvals as wit;
use super::wit::homeaiops::agent::types;
use super::{Hop, World};

/// Most bytes of a plan.
const MOST: usize = 16 * 1024;

/// What a person said to a plan: a no is a refusal, and told as one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Consented;

impl Act for Propose {
    type Answer = Consented;

    fn destinations(&self, _world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![Destination {
            name: "operator".into(),
            clearance: Clearance::OPERATOR,
            yields: Tier::Public,
            untrusted: false,
            reason: String::new(),
        }])
    }

    fn consent(&self, _world: &World, _by: &By<'_>) -> Result<Need, Denied> {
        Ok(Need::Consent(Asked {
            class: self.class.max(Class::C),
            because: "its agent asks before it begins; each call that needs consent is asked about by itself".into(),
            why: self.summary.clone(),
            undo: self.undo.clone().map(|text| Undoing { by: Undoer::Agent, text }),
            usd_micros: None,
        }))
    }

    async fn act(_world: World, _granted: Granted<Self>, _who: Who) -> Result<Reply<Consented>, Failed> {
        Ok(Reply { answer: Consented, tier: Tier::Public, usage: None, wrote: None })
    }
}

impl wit::Host for Hop {
    async fn ask(&mut self, proposal: wit::Proposal) -> wasmtime::Result<Result<wit::Verdict, types::Error>> {
        let wit::Proposal { class, summary, details, undo, cites } = proposal;
        let bytes = summary.len() + details.len() + undo.as_ref().map_or(0, String::len);
        if summary.trim().is_empty() || bytes > MOST {
            let text = format!("a plan needs a summary, and at most {MOST} bytes in all; this one has {bytes}");
            return Ok(Err(error(refuse::<Propose>(self, text).await?)));
        }
        let class = match class {
            types::ActionClass::A => Class::A,
            types::ActionClass::B => Class::B,
            types::ActionClass::C => Class::C,
            types::ActionClass::D => Class::D,
        };
        Ok(match perform(self, Propose { class, summary, details, undo, cites }).await? {
            Ok(_) => Ok(wit::Verdict::Approved),
            Err(CallError::Denied { rule, .. }) if rule == "approval_denied" => Ok(wit::Verdict::Denied),
            Err(refused) => Err(error(refused)),
        })
    }
}
