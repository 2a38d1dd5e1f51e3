//! A figure is a measured value held against a floor measured in the same run. There is no other way to print one: what a measurement
//! yields can neither be shown nor read until it stands beside its floor.

use std::time::Duration;

use anyhow::ensure;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Micros,
    Millis,
    Mebibytes,
    Bytes,
    Times,
    PerSecond,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Mebibytes => "MiB",
            Self::Bytes => "bytes",
            Self::Times => "",
            Self::PerSecond => "/s",
        }
    }
}

/// Durations of one thing, many times over.
pub(super) struct Samples {
    nanos: Histogram<u64>,
}

impl Samples {
    pub(super) fn new() -> anyhow::Result<Self> {
        // Up to an hour, three digits: a bench that takes longer has ended by itself.
        Ok(Self { nanos: Histogram::new_with_bounds(1, 3_600_000_000_000, 3)? })
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.nanos.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// The duration that a share `of` the samples does not exceed.
    pub(super) fn quantile(&self, of: f64, unit: Unit) -> Measured {
        Measured::time(Duration::from_nanos(self.nanos.value_at_quantile(of)), unit)
    }
}

/// A number that was measured. It is mute: only a [`Figure`] speaks.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    value: f64,
    unit: Unit,
}

impl Measured {
    /// One duration.
    pub(super) fn time(took: Duration, unit: Unit) -> Self {
        let scale = if unit == Unit::Millis { 1e3 } else { 1e6 };
        Self { value: took.as_secs_f64() * scale, unit }
    }

    /// A share of a sum: what one task used of it.
    #[expect(clippy::cast_precision_loss, reason = "a number of tasks, or of what they used")]
    pub(super) fn share(sum: u64, of: usize, unit: Unit) -> Self {
        Self { value: sum as f64 / of.max(1) as f64, unit }
    }

    /// How many a second.
    #[expect(clippy::cast_precision_loss, reason = "a number of tasks, or of calls")]
    pub(super) fn rate(many: usize, took: Duration) -> Self {
        Self { value: many as f64 / took.as_secs_f64(), unit: Unit::PerSecond }
    }

    /// A size in bytes.
    #[expect(clippy::cast_precision_loss, reason = "a size of memory")]
    pub(super) fn memory(bytes: u64) -> Self {
        Self { value: bytes as f64 / (1024.0 * 1024.0), unit: Unit::Mebibytes }
    }

    /// The figure that this is, beside its floor.
    ///
    /// # Errors
    /// If the floor is no floor: nothing was measured, or something else was.
    pub(super) fn figure(self, name: impl Into<String>, floor: Self, aim: Aim) -> anyhow::Result<Figure> {
        let name = name.into();
        ensure!(self.unit == floor.unit, "`{name}` and its floor are measured in different units: this is a mistake of the bench");
        ensure!(floor.value > 0.0 && self.value > 0.0, "`{name}` measured nothing: run it again, without --quick");
        Ok(Figure { store: "", name, value: self, floor, aim })
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// For information.
    None,
    /// In the figure's own unit.
    AtMost(f64),
    /// In the figure's own unit: more is better.
    AtLeast(f64),
    /// Times its floor.
    TimesFloor(f64),
    /// Its floor and so much, in the figure's own unit.
    OverFloor(f64),
}

impl Aim {
    fn words(self, unit: Unit) -> String {
        match self {
            Self::None => "–".into(),
            Self::AtMost(most) => format!("≤ {most} {}", unit.word()),
            Self::AtLeast(least) => format!("≥ {least} {}", unit.word()),
            Self::TimesFloor(times) => format!("≤ {times} × floor"),
            Self::OverFloor(more) => format!("≤ floor + {more} {}", unit.word()),
        }
    }
}

/// One row of the table.
pub(super) struct Figure {
    store: &'static str,
    name: String,
    value: Measured,
    floor: Measured,
    aim: Aim,
}

/// One row, for programs.
#[derive(Serialize)]
struct Row<'f> {
    store: &'static str,
    figure: &'f str,
    unit: &'static str,
    value: f64,
    floor: f64,
    ratio: f64,
    aim: String,
    met: Option<bool>,
}

impl Figure {
    /// The same figure, measured on that store.
    pub(super) fn on(self, store: &'static str) -> Self {
        Self { store, ..self }
    }

    /// Its floor, in words.
    pub(super) fn floor_words(&self) -> String {
        format!("{} {}", digits(self.floor.value), self.floor.unit.word())
    }

    fn ratio(&self) -> f64 {
        self.value.value / self.floor.value
    }

    fn met(&self) -> Option<bool> {
        match self.aim {
            Aim::None => None,
            Aim::AtMost(most) => Some(self.value.value <= most),
            Aim::AtLeast(least) => Some(self.value.value >= least),
            Aim::TimesFloor(times) => Some(self.ratio() <= times),
            Aim::OverFloor(more) => Some(self.value.value <= self.floor.value + more),
        }
    }

    fn row(&self) -> Row<'_> {
        let unit = self.value.unit;
        Row {
            store: self.store,
            figure: &self.name,
            unit: unit.word(),
            value: self.value.value,
            floor: self.floor.value,
            ratio: self.ratio(),
            aim: self.aim.words(unit),
            met: self.met(),
        }
    }
}

/// Every figure, for people.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["store", "figure", "", "value", "floor", "ratio", "aim", "met"]);
    for column in table.column_iter_mut().skip(3).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in figures.iter().map(Figure::row) {
        let met = row.met.map_or("–", |met| if met { "yes" } else { "NO" });
        let (value, floor, ratio) = (digits(row.value), digits(row.floor), digits(row.ratio));
        table.add_row([row.store, row.figure, row.unit, &value, &floor, &ratio, &row.aim, met]);
    }
    table.to_string()
}

/// Every figure, for programs.
pub(super) fn json(figures: &[Figure]) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(figures.iter().map(Figure::row).collect::<Vec<_>>())
}

/// Three digits that matter.
fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_without_a_floor() {
        let some = Measured::share(30, 10, Unit::Times);
        assert!(some.figure("x", Measured::share(0, 10, Unit::Times), Aim::None).is_err());
        assert!(some.figure("x", Measured::memory(1), Aim::None).is_err());
    }

    #[test]
    fn an_aim_is_met_or_not() {
        let figure = |aim| Measured::share(30, 10, Unit::Times).figure("x", Measured::share(1, 1, Unit::Times), aim).unwrap();
        assert_eq!(figure(Aim::TimesFloor(2.0)).met(), Some(false));
        assert_eq!(figure(Aim::AtMost(3.0)).met(), Some(true));
        assert_eq!(figure(Aim::AtLeast(4.0)).met(), Some(false));
        assert_eq!(figure(Aim::OverFloor(2.0)).met(), Some(true));
        assert_eq!(figure(Aim::None).met(), None);
        assert!(table(&[figure(Aim::TimesFloor(2.0)).on("sqlite")]).contains("≤ 2 × floor"));
    }
}
