//! Resume points of events: up to where somebody has heard each slot, `slot.position,slot.position…`.

use std::collections::BTreeMap;

/// Slots in a resume point; further ones are passed over.
const SLOTS_MAX: usize = 256;

/// Largest position that was heard, by slot.
pub(crate) type Points = BTreeMap<u16, u64>;

/// Reads what `write` wrote; what makes no sense is passed over.
pub(crate) fn parse(text: &str) -> Points {
    let points = text.split(',').take(SLOTS_MAX).filter_map(|point| {
        let (slot, position) = point.split_once('.')?;
        Some((slot.parse().ok()?, position.parse().ok()?))
    });
    points.collect()
}

/// For URLs and JSON.
pub(crate) fn write(points: &Points) -> String {
    let points: Vec<String> = points
        .iter()
        .map(|(slot, position)| format!("{slot}.{position}"))
        .collect();
    points.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_they_are_written() {
        let points = Points::from([(0, 7), (32_768, u64::MAX)]);
        assert_eq!(parse(&write(&points)), points);
        assert_eq!(parse("a.b,,1,2.3.4,5.6"), Points::from([(5, 6)]));
        assert_eq!(parse(""), Points::new());
    }
}
