//! What models cost that an operator gives no price for: `deploy/prices.toml`, built in.

use jiff::civil::Date;
use serde::Deserialize;

use super::Price;

const SHIPPED: &str = include_str!("../../../deploy/prices.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    price: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    model: String,
    from: toml::value::Datetime,
    input: f64,
    output: f64,
}

impl Line {
    fn from(&self) -> Option<Date> {
        let date = self.from.date?;
        Date::new(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
    }
}

/// The price of a model on that day, if the table knows it.
///
/// # Errors
/// If the table that is built in cannot be read, which a test rules out.
pub(super) fn shipped(model: &str, today: Date) -> Result<Option<Price>, toml::de::Error> {
    let table: Table = toml::from_str(SHIPPED)?;
    let fitting = table.price.iter().filter(|line| model.starts_with(&line.model));
    let dated = fitting.filter_map(|line| line.from().filter(|from| *from <= today).map(|from| (line.model.len(), from, line)));
    let best = dated.max_by_key(|(length, from, _)| (*length, *from));
    Ok(best.map(|(_, _, line)| Price { input: line.input, output: line.output }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_decides_and_the_unknown_has_no_price() {
        let day = Date::constant(2026, 11, 22);
        let price = |model: &str, day| shipped(model, day).expect("the table is readable").map(|price| (price.input, price.output));
        assert_eq!(price("claude-haiku-3-5-20241022", day), Some((0.8, 4.0)), "not that of `claude-haiku-3`");
        assert_eq!(price("claude-sonnet-4-5", day), Some((3.0, 15.0)));
        assert_eq!(price("claude-sonnet-4-5", Date::constant(2024, 1, 1)), None, "it did not hold yet");
        assert_eq!(price("somebody-elses-70b", day), None);
    }
}
