//! The members of an object: in their order, each name once.

/// Members up to this many are looked through, more are looked up by a sorted list. Keeps an object
/// of thousands of members from costing a request millions of comparisons.
const LOOKED_THROUGH_MAX: usize = 16;

/// Named values, in the order they came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::shadow) struct Members<T>(Vec<(Box<str>, T)>);

/// Finds members by name.
pub(in crate::shadow) struct Names<'a, T> {
    members: &'a Members<T>,
    positions: Positions,
}

/// Where members stand, in the order of their names; empty where they are looked through.
struct Positions(Vec<u32>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> IntoIterator for Members<T> {
    type Item = (Box<str>, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> Members<T> {
    /// Members whose names differ, else nothing.
    pub(in crate::shadow) fn new(members: Vec<(Box<str>, T)>) -> Option<Self> {
        let members = Self(members);
        let positions = members.positions();
        let names = members.0.iter().map(|(name, _)| name);
        let repeats = if positions.0.is_empty() {
            names.enumerate().any(|(at, name)| members.0[..at].iter().any(|(it, _)| it == name))
        } else {
            let name = |position: u32| &members.0[position as usize].0;
            !positions.0.is_sorted_by(|&one, &next| name(one) < name(next))
        };
        (!repeats).then_some(members)
    }

    /// How many there are.
    pub(in crate::shadow) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub(in crate::shadow) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In their order.
    pub(in crate::shadow) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of a name; for one look-up. [`Self::names`] is for many.
    pub(in crate::shadow) fn find(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    /// Without the member of this name.
    pub(in crate::shadow) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| &**known != name);
        self
    }

    /// A way to find many.
    pub(in crate::shadow) fn names(&self) -> Names<'_, T> {
        Names { members: self, positions: self.positions() }
    }

    /// Lets `change` decide on each name of `changes`: it gets the value known here, if there is
    /// one, and returns the value from now on, if there is one. New members come last.
    pub(in crate::shadow) fn change<'a, C: 'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a str, &'a C)>,
        change: impl Fn(Option<T>, &'a C) -> Option<T>,
    ) {
        let positions = self.positions();
        let known = std::mem::take(&mut self.0).into_iter();
        let mut slots: Vec<_> = known.map(|(name, value)| (name, Some(value))).collect();
        let count = slots.len();
        for (name, value) in changes {
            match positions.find(&slots[..count], name) {
                Some(at) => slots[at].1 = change(slots[at].1.take(), value),
                None => slots.push((name.into(), change(None, value))),
            }
        }
        self.0 = slots.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    }

    fn positions(&self) -> Positions {
        if self.0.len() <= LOOKED_THROUGH_MAX {
            return Positions(Vec::new());
        }
        let mut positions: Vec<u32> = (0..self.0.len() as u32).collect();
        positions.sort_unstable_by_key(|&position| &self.0[position as usize].0);
        Positions(positions)
    }
}

impl<'a, T> Names<'a, T> {
    /// The value of a name.
    pub(in crate::shadow) fn find(&self, name: &str) -> Option<&'a T> {
        let members = &self.members.0;
        self.positions.find(members, name).map(|at| &members[at].1)
    }
}

impl Positions {
    /// Where the member of this name stands among `members`, which these positions were made of.
    fn find<V>(&self, members: &[(Box<str>, V)], name: &str) -> Option<usize> {
        if self.0.is_empty() {
            return members.iter().position(|(known, _)| &**known == name);
        }
        let known = |position: &u32| &*members[*position as usize].0;
        let found = self.0.binary_search_by_key(&name, known).ok()?;
        Some(self.0[found] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: impl Iterator<Item = u32>) -> Option<Members<u32>> {
        Members::new(names.map(|name| (name.to_string().into(), name)).collect())
    }

    #[test]
    fn a_name_stands_once_however_many_there_are() {
        for count in [0, 1, 2, 15, 16, 17, 40] {
            assert!(members(0..count).is_some(), "{count}");
            if count > 0 {
                assert!(members((0..count).chain([count / 2])).is_none(), "{count}");
            }
        }
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for count in [0, 1, 16, 17, 200] {
            let members = members((0..count).rev()).unwrap();
            let names = members.names();
            for name in 0..count {
                assert_eq!(names.find(&name.to_string()), Some(&name));
                assert_eq!(members.find(&name.to_string()), Some(&name));
            }
            assert_eq!(names.find("x"), None);
            assert_eq!(members.find("x"), None);
        }
    }

    #[test]
    fn changes_keep_the_order_and_new_members_come_last() {
        for count in [4, 40] {
            let mut members = members(0..count).unwrap();
            let changes = [("x", &Some(100)), ("1", &None), ("0", &Some(7)), ("y", &None)];
            members.change(changes.into_iter(), |known, change| {
                change.map(|change| change + known.unwrap_or_default())
            });
            let all: Vec<_> =
                members.iter().map(|(name, value)| (name.to_owned(), *value)).collect();
            let mut expected = vec![("0".to_owned(), 7)];
            expected.extend((2..count).map(|name| (name.to_string(), name)));
            expected.push(("x".to_owned(), 100));
            assert_eq!(all, expected);
        }
    }
}
