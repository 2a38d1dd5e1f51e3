//! What a server says by itself: that its tools are others now. One of the newest revision says so only to whoever asked to be told, on a
//! stream that is asked for here and again when it ends. Older ones say so unasked.
//!
//! Must never keep a session alive, nor keep one from being used: without notices a catalogue is read anew when it is old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::ClientHandler;
use rmcp::model::{ClientConfig, ProtocolVersion, SubscriptionFilter};
use rmcp::service::{NotificationContext, Peer, RoleClient, ServiceError, Subscription};

/// Time for a server to agree that it tells.
const AGREES: Duration = Duration::from_secs(5);
/// Between the end of a stream and asking for another.
const PAUSE: Duration = Duration::from_secs(5);

/// Hears what a server says unasked.
pub(super) struct Ears {
    pub(super) we: ClientConfig,
    pub(super) stale: Arc<AtomicBool>,
}

impl ClientHandler for Ears {
    fn get_info(&self) -> ClientConfig {
        self.we.clone()
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.stale.store(true, Ordering::SeqCst);
    }
}

/// Asks a server of the newest revision to tell of other tools, as long as that session lasts. Returns when it has agreed, so that a
/// catalogue which is read from then on misses nothing, or has not in time.
pub(super) async fn follow(peer: &Peer<RoleClient>, stale: Arc<AtomicBool>) {
    let Some(server) = peer.peer_info().filter(|server| server.protocol_version == ProtocolVersion::V_2026_07_28) else { return };
    let wanted = SubscriptionFilter::builder().tools_list_changed().build().supported_by(&server.capabilities);
    if wanted == SubscriptionFilter::new() {
        return;
    }
    let first = asked(peer, &wanted).await;
    let peer = peer.clone();
    tokio::spawn(async move {
        let mut stream = first;
        while !peer.is_transport_closed() && !matches!(stream, Asked::Refused) {
            if let Asked::Agreed(mut heard) = stream {
                while let Ok(Some(_)) = heard.next().await {
                    stale.store(true, Ordering::SeqCst);
                }
            }
            tokio::time::sleep(PAUSE).await;
            stream = asked(&peer, &wanted).await;
            // What was said while nobody listened is not known.
            stale.fetch_or(matches!(stream, Asked::Agreed(_)), Ordering::SeqCst);
        }
    });
}

/// What came of asking for notices.
enum Asked {
    Agreed(Box<Subscription>),
    /// It does not serve that, whatever it said before.
    Refused,
    /// It may another time.
    Silent,
}

async fn asked(peer: &Peer<RoleClient>, wanted: &SubscriptionFilter) -> Asked {
    match tokio::time::timeout(AGREES, peer.listen(wanted.clone())).await {
        Ok(Ok(stream)) => Asked::Agreed(Box::new(stream)),
        Ok(Err(ServiceError::McpError(_))) => Asked::Refused,
        Ok(Err(_)) | Err(_) => Asked::Silent,
    }
}
