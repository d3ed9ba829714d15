//! A filter's shape, and the keys under which a topic's filters are found.
//!
//! The shape of a Topic Filter is where its wildcards stand. A topic can match at most one filter
//! of each shape, so it is looked up once per shape in use, by a key, plus once for the filter that
//! equals it. A key may collide: whoever finds something under it compares the filter itself.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

/// Levels a shape can describe; filters with wildcards that are longer are kept in a list.
const LEVELS_MAX: usize = 48;
const PLUS: u64 = 0x9E37_79B9_7F4A_7C15;
const MULTI: u64 = 0xC2B2_AE3D_27D4_EB4F;

/// Where the wildcards of a Topic Filter stand.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Shape {
    /// Bit i: level i is `+`.
    mask: u64,
    /// Levels before a final `#`, or all of them.
    levels: u8,
    /// Ends with `#`.
    open: bool,
}

/// How a Topic Filter is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// It has no wildcard.
    Exact(u64),
    /// Under its shape.
    Shaped(Shape, u64),
    /// It has wildcards and too many levels for a shape.
    Deep,
}

/// Hashes levels and combines them into keys; the same for every shard of a server.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    state: FixedState,
    seed: u64,
}

/// The hashed levels of a Topic Name.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    hashes: SmallVec<[u64; 16]>,
    dollar: bool,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: FixedState::with_seed(seed), seed }
    }

    fn level(&self, level: &str) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(level.as_bytes());
        hasher.finish()
    }

    /// Hashes the levels of a Topic Name. Hot: once per PUBLISH.
    pub(crate) fn levels(&self, topic: &str, out: &mut Levels) {
        out.hashes.clear();
        out.dollar = topic.starts_with('$');
        out.hashes.extend(topic.split('/').map(|level| self.level(level)));
    }

    /// The key of the filter that equals the topic.
    pub(crate) fn exact(&self, levels: &Levels) -> u64 {
        finish(levels.hashes.iter().fold(self.seed, |key, level| combine(key, *level)), false)
    }

    /// The key of the one filter of this shape that the topic could match, if any can.
    pub(crate) fn shaped(&self, levels: &Levels, shape: Shape) -> Option<u64> {
        let wanted = usize::from(shape.levels);
        let fits =
            if shape.open { levels.hashes.len() >= wanted } else { levels.hashes.len() == wanted };
        // [MQTT-4.7.2-1]
        if !fits || (levels.dollar && (shape.mask & 1 == 1 || wanted == 0)) {
            return None;
        }
        let mut mask = shape.mask;
        let key = levels.hashes.iter().take(wanted).fold(self.seed, |key, level| {
            let part = if mask & 1 == 1 { PLUS } else { *level };
            mask >>= 1;
            combine(key, part)
        });
        Some(finish(key, shape.open))
    }

    /// How a valid Topic Filter (without `$share` prefix) is found.
    pub(crate) fn place(&self, filter: &str) -> Place {
        let mut shape = Shape { mask: 0, levels: 0, open: false };
        let mut key = self.seed;
        let mut wild = false;
        let mut deep = false;
        for (position, level) in filter.split('/').enumerate() {
            match level {
                "#" => {
                    shape.open = true;
                    wild = true;
                    continue;
                }
                "+" => {
                    wild = true;
                    shape.mask |= if position < LEVELS_MAX { 1 << position } else { 0 };
                    key = combine(key, PLUS);
                }
                _ => key = combine(key, self.level(level)),
            }
            deep |= position >= LEVELS_MAX;
            shape.levels = shape.levels.saturating_add(1);
        }
        match (wild, deep) {
            (false, _) => Place::Exact(finish(key, false)),
            (true, false) => Place::Shaped(shape, finish(key, shape.open)),
            (true, true) => Place::Deep,
        }
    }
}

/// What a filter costs those who publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cost {
    /// Nothing: it has no wildcard.
    Exact,
    /// A probe for its shape, whoever else has that.
    Shape(Shape),
    /// A comparison of its own.
    Deep,
}

/// What a Topic Filter (without `$share` prefix) costs.
pub(crate) fn cost_of(filter: &str) -> Cost {
    match Keys::new(0).place(filter) {
        Place::Exact(_) => Cost::Exact,
        Place::Shaped(shape, _) => Cost::Shape(shape),
        Place::Deep => Cost::Deep,
    }
}

fn combine(key: u64, level: u64) -> u64 {
    let product = u128::from(key ^ level).wrapping_mul(0xA076_1D64_78BD_642F_E703_7ED1_A0B4_28DB);
    (product as u64) ^ ((product >> 64) as u64) ^ level.rotate_left(17)
}

fn finish(key: u64, open: bool) -> u64 {
    if open { combine(key, MULTI) } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(filter: &str, topic: &str) -> bool {
        let keys = Keys::new(7);
        let mut levels = Levels::default();
        keys.levels(topic, &mut levels);
        match keys.place(filter) {
            Place::Exact(key) => key == keys.exact(&levels),
            Place::Shaped(shape, key) => keys.shaped(&levels, shape) == Some(key),
            Place::Deep => bitts_mqtt::matches(filter, topic),
        }
    }

    #[test]
    fn a_topic_is_found_under_the_keys_of_the_filters_it_matches() {
        let parts = ["", "a", "b", "$x", "+", "#"];
        let mut filters = vec![];
        let mut topics = vec![];
        for first in parts {
            for second in parts {
                for third in parts {
                    filters.push(format!("{first}/{second}/{third}"));
                }
                filters.push(format!("{first}/{second}"));
            }
            filters.push(first.to_owned());
        }
        filters.retain(|filter| bitts_mqtt::check_filter(filter).is_ok());
        topics.extend(filters.iter().filter(|f| bitts_mqtt::check_topic(f).is_ok()).cloned());
        for filter in &filters {
            for topic in &topics {
                assert_eq!(
                    found(filter, topic),
                    bitts_mqtt::matches(filter, topic),
                    "{filter} {topic}"
                );
            }
        }
    }

    #[test]
    fn filters_deeper_than_a_shape_are_kept_apart() {
        let filter = format!("{}+", "a/".repeat(60));
        assert_eq!(Keys::new(1).place(&filter), Place::Deep);
        assert!(matches!(Keys::new(1).place(&"a/".repeat(60)), Place::Exact(_)));
    }
}
