//! A hash table that is copied in constant time and shares what did not change.
//!
//! # How it works
//! A tree of fixed depth: 64 branches of 64 leaves, chosen by twelve bits of a key's hash; a leaf is a short list. A copy shares
//! the root. A change copies the root, one branch and one leaf (128 reference counts and a few entries) if they are shared, and
//! nothing if they are not: of a batch of changes only the first pays. A lookup follows two pointers and compares hashes.
//!
//! With 10,000 services a leaf has two or three entries, with a million names 250; that is where a deeper tree would begin to
//! pay. The hash is seeded, so that nobody can choose names that share a leaf.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Branches of the root, and leaves of a branch.
const WIDTH: usize = 64;
/// Bits of a hash that choose one of them.
const BITS: u32 = WIDTH.trailing_zeros();

#[derive(Clone)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

type Leaf<K, V> = Arc<Vec<Entry<K, V>>>;
type Branch<K, V> = Arc<[Leaf<K, V>]>;

/// See the module's text.
#[derive(Clone)]
pub(super) struct Table<K, V> {
    root: Arc<[Branch<K, V>]>,
    hasher: RandomState,
    len: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Table<K, V> {
    pub(super) fn new() -> Self {
        let leaf: Leaf<K, V> = Arc::new(Vec::new());
        let branch: Branch<K, V> = vec![leaf; WIDTH].into();
        Self { root: vec![branch; WIDTH].into(), hasher: RandomState::default(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn lookup<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let (branch, leaf) = place(hash);
        let entries = self.root.get(branch)?.get(leaf)?;
        entries.iter().find(|entry| entry.hash == hash && entry.key.borrow() == key).map(|entry| &entry.value)
    }

    /// Puts a value there; says which was there before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let entries = self.leaf(hash)?;
        if let Some(entry) = entries.iter_mut().find(|entry| entry.hash == hash && entry.key == key) {
            return Some(std::mem::replace(&mut entry.value, value));
        }
        entries.push(Entry { hash, key, value });
        self.len += 1;
        None
    }

    /// Takes a value away; says which it was.
    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Looked up first, so that nothing is copied for what is not there.
        self.lookup(key)?;
        let hash = self.hasher.hash_one(key);
        let entries = self.leaf(hash)?;
        let at = entries.iter().position(|entry| entry.hash == hash && entry.key.borrow() == key)?;
        let entry = entries.swap_remove(at);
        self.len -= 1;
        Some(entry.value)
    }

    /// The leaf for `hash`, ours alone.
    fn leaf(&mut self, hash: u64) -> Option<&mut Vec<Entry<K, V>>> {
        let (branch, leaf) = place(hash);
        let branch = Arc::make_mut(&mut self.root).get_mut(branch)?;
        Arc::make_mut(branch).get_mut(leaf).map(Arc::make_mut)
    }
}

/// Branch and leaf; the upper bits, because the lower ones are compared in the leaf anyway.
fn place(hash: u64) -> (usize, usize) {
    let index = |shift: u32| usize::try_from(hash >> shift).unwrap_or_default() & (WIDTH - 1);
    (index(u64::BITS - BITS), index(u64::BITS - 2 * BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tables_are_maps_and_copies_stay_as_they_were(
            steps in proptest::collection::vec((0_u16..300, proptest::option::of(any::<u8>()), any::<bool>()), 0..400)
        ) {
            let mut table = Table::new();
            let mut model = HashMap::new();
            let mut copies = Vec::new();
            for (key, value, copy) in steps {
                match value {
                    Some(value) => prop_assert_eq!(table.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(table.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(table.len(), model.len());
                if copy && copies.len() < 8 {
                    copies.push((table.clone(), model.clone()));
                }
            }
            copies.push((table, model));
            for (table, model) in copies {
                for key in 0..300 {
                    prop_assert_eq!(table.lookup(&key), model.get(&key));
                }
            }
        }
    }
}
