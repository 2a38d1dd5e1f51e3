//! What runs do right now, for whoever watches: a call that began, the words of a model as they come. Best effort; the journal is
//! the truth.

use std::sync::Arc;

use policy::tier::{Label, Labelled};
use tokio::sync::broadcast;

use super::act::Who;

/// Words that a slow watcher may be behind before it misses some.
const BEHIND: usize = 4096;

/// A cheap handle.
#[derive(Clone)]
pub struct Live {
    channel: broadcast::Sender<Arc<Doing>>,
}

/// Something that a run does.
pub struct Doing {
    /// The task.
    pub task: String,
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The `ref` of the call.
    pub reference: String,
    /// Whose run.
    pub agent: String,
    /// What it does.
    pub what: What,
}

/// What a run does.
pub enum What {
    /// A call of that kind began.
    Began(&'static str),
    /// A model said more.
    Said {
        /// The words.
        text: Labelled<String>,
        /// Pieces of this call so far, these words included.
        tokens: u64,
    },
}

impl Live {
    /// A channel that nobody watches yet.
    #[must_use]
    pub fn new() -> Self {
        Self { channel: broadcast::Sender::new(BEHIND) }
    }

    /// Everything from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Doing>> {
        self.channel.subscribe()
    }

    /// Says that a call began.
    pub fn began(&self, who: &Who, kind: &'static str) {
        self.tell(who, What::Began(kind));
    }

    /// Passes on the words of a model, under the label of who asked.
    pub fn words<'l>(&'l self, who: &'l Who) -> impl FnMut(&str) + Send + 'l {
        let (label, mut tokens): (Label, u64) = (who.label, 0);
        move |text| {
            tokens += 1;
            self.tell(who, What::Said { text: Labelled::new(label, text.to_owned()), tokens });
        }
    }

    fn tell(&self, who: &Who, what: What) {
        if self.channel.receiver_count() == 0 {
            return;
        }
        let at = &who.at;
        // Whoever watched may have just gone.
        let _ = self.channel.send(Arc::new(Doing {
            task: at.task.clone(),
            hop: at.hop,
            run: at.run,
            reference: at.reference(),
            agent: who.grant.agent().to_owned(),
            what,
        }));
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}
