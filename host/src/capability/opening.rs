//! What a call is before anything is decided: its place in the journal, what it is recognised by, and the key under which its
//! receiver knows it.

use policy::call::Effect;

use super::act::Act;
use super::{Hop, Stop};
use crate::id;
use crate::store::journal::Opening;

/// Takes the next place in the journal for a call, which is freed of the host's secrets before anybody looks at it.
pub(super) fn open<C: Act>(hop: &mut Hop, call: &mut C) -> Result<Opening, Stop> {
    let mut request = canonical(call)?;
    if let Some(mut clean) = hop.cleaned(C::KIND, call, &request)? {
        clean.beside(call);
        request = canonical(&clean)?;
        *call = clean;
    }
    place::<C>(hop, request)
}

fn canonical<C: Act>(call: &C) -> Result<String, Stop> {
    serde_json_canonicalizer::to_string(call).map_err(|error| Stop::Store(error.to_string()))
}

/// The next place in the journal, within the limits of the run.
pub(super) fn place<C: Act>(hop: &mut Hop, request: String) -> Result<Opening, Stop> {
    let limits = *hop.grant.limits();
    hop.at.seq += 1;
    hop.spent.host_calls += 1;
    if hop.spent.host_calls > limits.host_calls {
        return Err(Stop::Limit(format!("host_calls = {}: the agent makes more calls than that", limits.host_calls)));
    }
    hop.journaled(request.len())?;
    Ok(Opening {
        at: hop.at.clone(),
        lease: hop.tenure.lease,
        kind: C::KIND,
        fingerprint: fingerprint(C::KIND, &request),
        request,
        label: hop.label,
        effect: Effect::None,
        started_at: id::now(),
    })
}

/// Version, kind and canonical request, hashed.
pub(crate) fn fingerprint(kind: &str, request: &str) -> String {
    const VERSION: u8 = 1;
    format!("{VERSION:02x}{}", id::digest(format!("{kind}\0{request}").as_bytes()))
}

/// The key under which its receiver knows a call: the same however often it is sent, by whatever run.
pub(super) fn key(hop: &Hop, opening: &Opening) -> String {
    let at = &opening.at;
    let earlier = hop.made.get(&opening.fingerprint).copied().unwrap_or_default();
    id::digest(format!("{}\0{}\0{}\0{earlier}", at.task, at.hop, opening.fingerprint).as_bytes())
}
