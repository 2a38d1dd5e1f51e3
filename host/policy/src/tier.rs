//! Who may see a piece of data, and who may be believed.
//!
//! A label only rises. Text that came from a run is [`Labelled`]: it has no `Display`, `Debug` or `Serialize`, and only a
//! destination that shows its [`Clearance`] can open it.

use serde::{Deserialize, Serialize};

/// How far data may travel. Ordered: `public < internal < restricted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Anyone may see it.
    Public,
    /// The household and its own services may see it.
    Internal,
    /// Only the operator, and what the operator cleared by name.
    Restricted,
}

impl Tier {
    /// The name used in configuration, JSON and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Restricted => "restricted",
        }
    }

    /// The tier of that name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Public, Self::Internal, Self::Restricted].into_iter().find(|tier| tier.as_str() == name)
    }
}

/// What a run has read so far: the highest tier of it, and whether any of it came from a source that may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Highest tier read.
    pub tier: Tier,
    /// Whether an untrusted source was read.
    pub tainted: bool,
}

impl Label {
    /// A label of that tier, from a source that is trusted.
    #[must_use]
    pub fn of(tier: Tier) -> Self {
        Self { tier, tainted: false }
    }

    /// The label of both together: the higher tier, and the taint of either.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { tier: self.tier.max(other.tier), tainted: self.tainted || other.tainted }
    }
}

/// The highest tier that a destination may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Clearance(pub Tier);

impl Clearance {
    /// Our own database and vault, and the operator: they may hold everything.
    pub const OPERATOR: Self = Self(Tier::Restricted);
    /// Answers to household members.
    pub const HOUSEHOLD: Self = Self(Tier::Internal);
    /// Log lines and spans.
    pub const LOG: Self = Self(Tier::Internal);

    /// Whether data of this tier may go there.
    #[must_use]
    pub fn admits(self, tier: Tier) -> bool {
        tier <= self.0
    }
}

/// Data that carries its label and opens only for a destination that is cleared for it.
#[derive(Clone)]
pub struct Labelled<T> {
    label: Label,
    value: T,
}

impl<T> Labelled<T> {
    /// Seals `value` under `label`.
    #[must_use]
    pub fn new(label: Label, value: T) -> Self {
        Self { label, value }
    }

    /// The label, which is not itself content.
    #[must_use]
    pub fn label(&self) -> Label {
        self.label
    }

    /// The value, for a destination of that clearance.
    ///
    /// # Errors
    /// [`Withheld`] if the label is above the clearance.
    pub fn open(&self, clearance: Clearance) -> Result<&T, Withheld> {
        if clearance.admits(self.label.tier) { Ok(&self.value) } else { Err(Withheld) }
    }
}

/// What stands in for data that a destination may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[restricted]")]
pub struct Withheld;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tier_has_one_name() {
        for (tier, name) in [(Tier::Public, "public"), (Tier::Internal, "internal"), (Tier::Restricted, "restricted")] {
            assert_eq!((tier.as_str(), Tier::named(name)), (name, Some(tier)));
        }
        assert_eq!((Tier::named("secret"), Tier::named("")), (None, None));
        assert!(Tier::Public < Tier::Internal && Tier::Internal < Tier::Restricted);
        assert_eq!(
            (Clearance::OPERATOR.0, Clearance::HOUSEHOLD.0, Clearance::LOG.0),
            (Tier::Restricted, Tier::Internal, Tier::Internal)
        );
        assert_eq!(Withheld.to_string(), "[restricted]");
    }

    fn label() -> impl Strategy<Value = Label> {
        let tier = prop_oneof![Just(Tier::Public), Just(Tier::Internal), Just(Tier::Restricted)];
        (tier, any::<bool>()).prop_map(|(tier, tainted)| Label { tier, tainted })
    }

    proptest! {
        #[test]
        fn a_label_only_rises(a in label(), b in label()) {
            let both = a.join(b);
            prop_assert!(both.tier >= a.tier && both.tier >= b.tier);
            prop_assert!(both.tainted >= a.tainted && both.tainted >= b.tainted);
            prop_assert_eq!(both, b.join(a));
            prop_assert_eq!(both.join(a), both);
        }

        #[test]
        fn sealed_data_opens_only_at_or_above_its_tier(label in label(), clearance in label()) {
            let sealed = Labelled::new(label, "content");
            let opened = sealed.open(Clearance(clearance.tier)).is_ok();
            prop_assert_eq!(opened, label.tier <= clearance.tier);
        }
    }
}
