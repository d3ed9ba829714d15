//! An ordered map whose copies share what they have in common.
//!
//! Entries stand in chunks of at most [`CHUNK_MAX`], so a change copies one chunk and the list of
//! chunks: some microseconds for 100,000 entries. A copy of the whole map is one reference. Chunks
//! are never empty and ascend; that order is the order of every list.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Entries of a chunk at most.
const CHUNK_MAX: usize = 256;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// See the module.
pub(crate) struct OrderedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K, V> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for OrderedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value))).finish()
    }
}

impl<K, V> OrderedMap<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All entries, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The entry whose key compares as equal. `order` says where a key stands beside the one
    /// sought.
    pub(crate) fn find(&self, order: impl Fn(&K) -> Ordering) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(&order)?)?;
        let at = chunk.binary_search_by(|(key, _)| order(key)).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// The entries from the first whose key is not less, ascending.
    pub(crate) fn from(&self, order: impl Fn(&K) -> Ordering) -> impl Iterator<Item = &(K, V)> {
        let first = self.chunk_of(&order).unwrap_or(0);
        let before = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|(key, _)| order(key) == Ordering::Less));
        self.chunks.iter().skip(first).flat_map(|chunk| chunk.iter()).skip(before)
    }

    /// The last chunk whose first key is not greater; `None` where all are.
    fn chunk_of(&self, order: impl Fn(&K) -> Ordering) -> Option<usize> {
        let is_before = |chunk: &Chunk<K, V>| {
            chunk.first().is_some_and(|(key, _)| order(key) != Ordering::Greater)
        };
        self.chunks.partition_point(is_before).checked_sub(1)
    }
}

impl<K: Clone + Ord, V: Clone> OrderedMap<K, V> {
    /// Puts an entry; gives the value that stood there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(|known| known.cmp(&key)).unwrap_or(0);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        let place = match chunk.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => {
                return chunk.get_mut(place).map(|entry| std::mem::replace(&mut entry.1, value));
            }
            Err(place) => place,
        };
        chunk.insert(place, (key, value));
        self.len += 1;
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            chunks.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, order: impl Fn(&K) -> Ordering) -> Option<V> {
        let at = self.chunk_of(&order)?;
        let place = self.chunks.get(at)?.binary_search_by(|(key, _)| order(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let (_, value) = chunk.remove(place);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(at);
        } else if !join(chunks, at) && at > 0 {
            join(chunks, at - 1);
        }
        Some(value)
    }
}

/// Makes one chunk of two neighbours that are half a chunk together; says whether it did.
fn join<K: Clone, V: Clone>(chunks: &mut Vec<Chunk<K, V>>, at: usize) -> bool {
    let [chunk, next] = [at, at + 1].map(|at| chunks.get(at).map_or(CHUNK_MAX, |it| it.len()));
    if chunk + next > CHUNK_MAX / 2 {
        return false;
    }
    let next = chunks.remove(at + 1);
    if let Some(chunk) = chunks.get_mut(at) {
        Arc::make_mut(chunk).extend(next.iter().cloned());
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A change touches the chunk it is in and leaves the copy taken before as it was.
    #[test]
    fn a_copy_shares_every_chunk_but_the_changed_one() {
        let mut map = OrderedMap::default();
        for key in 0..10_000 {
            map.insert(key, key);
        }
        let before = map.clone();
        map.insert(5_000, 1);
        let shared = before.chunks.iter().zip(map.chunks.iter()).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), before.chunks.len() - 1);
        assert_eq!(before.find(|key| key.cmp(&5_000)), Some(&5_000));
        assert_eq!(map.find(|key| key.cmp(&5_000)), Some(&1));
    }

    #[test]
    fn removals_leave_no_empty_and_few_small_chunks() {
        let mut map = OrderedMap::default();
        for key in 0..10_000 {
            map.insert(key, ());
        }
        for key in (0..10_000).filter(|key| key % 100 != 0) {
            assert_eq!(map.remove(|known| known.cmp(&key)), Some(()));
        }
        assert_eq!(map.len(), 100);
        assert!(map.chunks.len() <= 4, "{}", map.chunks.len());
        for key in 0..10_000 {
            map.remove(|known| known.cmp(&key));
        }
        assert_eq!((map.len(), map.chunks.len()), (0, 0));
    }

    proptest! {
        /// The model is std's map.
        #[test]
        fn does_what_an_ordered_map_does(
            steps in prop::collection::vec((any::<bool>(), 0..700_u16, any::<u8>()), 0..3_000),
            from in 0..700_u16,
        ) {
            let mut map = OrderedMap::default();
            let mut model = BTreeMap::new();
            for (puts, key, value) in steps {
                if puts {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(|known| known.cmp(&key)), model.remove(&key));
                }
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.iter().map(|(key, value)| (key, value)).eq(model.iter()));
            let tail = map.from(|key| key.cmp(&from)).map(|(key, value)| (key, value));
            prop_assert!(tail.eq(model.range(from..)));
            prop_assert_eq!(map.find(|key| key.cmp(&from)), model.get(&from));
        }
    }
}
