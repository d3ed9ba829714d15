//! Which things of one kind belong to which of another, read from both sides.
//!
//! A policy and its targets, a thing and its principals, a group and its members. The two orders
//! change together, here and nowhere else.

use std::cmp::Ordering;
use std::sync::Arc;

use super::map::OrderedMap;

type Pair = (Arc<str>, Arc<str>);

/// Pairs with a value each.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<V> {
    forward: OrderedMap<Pair, V>,
    backward: OrderedMap<Pair, V>,
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self { forward: OrderedMap::default(), backward: OrderedMap::default() }
    }
}

fn order(left: &str, right: &str) -> impl Fn(&Pair) -> Ordering {
    move |pair| (&*pair.0, &*pair.1).cmp(&(left, right))
}

/// The second halves of the pairs that begin with `first`, ascending, with their values.
fn seconds<'a, V>(
    map: &'a OrderedMap<Pair, V>,
    first: &str,
) -> impl Iterator<Item = (&'a str, &'a V)> {
    let found = map.from(order(first, ""));
    found
        .take_while(move |((known, _), _)| **known == *first)
        .map(|((_, it), value)| (&**it, value))
}

impl<V: Clone> Pairs<V> {
    pub(crate) fn insert(&mut self, left: &str, right: &str, value: V) {
        let (left, right): Pair = (left.into(), right.into());
        self.backward.insert((Arc::clone(&right), Arc::clone(&left)), value.clone());
        self.forward.insert((left, right), value);
    }

    /// Whether there was such a pair.
    pub(crate) fn remove(&mut self, left: &str, right: &str) -> bool {
        self.backward.remove(order(right, left));
        self.forward.remove(order(left, right)).is_some()
    }

    pub(crate) fn find(&self, left: &str, right: &str) -> Option<&V> {
        self.forward.find(order(left, right))
    }

    /// What belongs to a left half, ascending.
    pub(crate) fn of<'a>(&'a self, left: &str) -> impl Iterator<Item = (&'a str, &'a V)> {
        seconds(&self.forward, left)
    }

    /// What a right half belongs to, ascending.
    pub(crate) fn with<'a>(&'a self, right: &str) -> impl Iterator<Item = (&'a str, &'a V)> {
        seconds(&self.backward, right)
    }

    /// All pairs, by their left halves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &V)> {
        self.forward.iter().map(|((left, right), value)| (&**left, &**right, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_from_both_sides() {
        let mut pairs = Pairs::default();
        pairs.insert("a", "2", ());
        pairs.insert("a", "1", ());
        pairs.insert("ab", "1", ());
        let names = |it: Vec<(&str, &())>| it.into_iter().map(|it| it.0.to_owned()).collect();
        let of_a: Vec<String> = names(pairs.of("a").collect());
        let with_1: Vec<String> = names(pairs.with("1").collect());
        assert_eq!((of_a, with_1), (vec!["1".into(), "2".into()], vec!["a".into(), "ab".into()]));
        assert!(pairs.remove("a", "1") && !pairs.remove("a", "1"));
        let with_1: Vec<String> = names(pairs.with("1").collect());
        assert_eq!((with_1, pairs.iter().count()), (vec!["ab".into()], 2));
        assert!(pairs.find("a", "1").is_none() && pairs.find("a", "2").is_some());
    }
}
