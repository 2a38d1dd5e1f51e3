//! Before step 2: what a call is judged by may have to be asked for first. It decides nothing.

use std::task::Poll;

use tokio::time::Instant;

use super::act::Act;
use super::{Hop, Stop, TICK};

/// Lets a call learn what it is judged by. The guest's permit is given back if that takes a while.
pub(super) async fn learnt<C: Act>(hop: &mut Hop, call: &mut C) -> Result<(), Stop> {
    let (world, grant, asker) = (hop.world.clone(), hop.grant.clone(), hop.asker.clone());
    let mut learning = std::pin::pin!(call.learn(&world, &grant, &asker));
    if let Poll::Ready(learnt) = futures::poll!(&mut learning) {
        return learnt.map_err(|stop| cleaned(hop, stop));
    }
    drop(hop.permit.take());
    let began = Instant::now();
    let learnt = learning.await;
    hop.permit = world.executing.clone().acquire_owned().await.ok();
    hop.waited |= began.elapsed() >= TICK;
    learnt.map_err(|stop| cleaned(hop, stop))
}

/// What a server says of its trouble may repeat what it was sent.
fn cleaned(hop: &Hop, stop: Stop) -> Stop {
    if let Stop::Backend { said, at, asked } = stop {
        return Stop::Backend { said: hop.clean("an error", said), at, asked };
    }
    stop
}
