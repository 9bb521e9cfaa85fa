//! Values by name in the order they were last set, so that the oldest can go first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// A map that knows the age of its values.
#[derive(Debug)]
pub(super) struct Recent<K: ?Sized, V> {
    values: HashMap<Arc<K>, (u64, V)>,
    /// Names by the age of their values.
    by_age: BTreeMap<u64, Arc<K>>,
    next_age: u64,
}

impl<K: ?Sized, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), by_age: BTreeMap::new(), next_age: 0 }
    }
}

impl<K: ?Sized + Eq + Hash, V> Recent<K, V> {
    pub(super) fn find(&self, name: &K) -> Option<&V> {
        self.values.get(name).map(|(_, value)| value)
    }

    /// Sets a value, which becomes the newest. Returns the one before it.
    pub(super) fn set(&mut self, name: Arc<K>, value: V) -> Option<V> {
        let age = self.next_age;
        self.next_age += 1;
        let replaced = self.values.insert(Arc::clone(&name), (age, value));
        self.by_age.insert(age, name);
        let (replaced_age, replaced) = replaced?;
        self.by_age.remove(&replaced_age);
        Some(replaced)
    }

    pub(super) fn remove_oldest(&mut self) -> Option<V> {
        let (_, name) = self.by_age.pop_first()?;
        self.values.remove(&*name).map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// All values, the oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = &V> {
        self.by_age.values().filter_map(|name| self.find(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_again_is_the_newest() {
        let mut recent: Recent<str, u32> = Recent::default();
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(recent.set(name.into(), value), None);
        }
        assert_eq!(recent.set("a".into(), 4), Some(1));
        assert_eq!(recent.oldest_first().copied().collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((recent.find("a"), recent.len()), (Some(&4), 3));
        assert_eq!([recent.remove_oldest(), recent.remove_oldest()], [Some(2), Some(3)]);
        assert_eq!((recent.find("b"), recent.len()), (None, 1));
        assert_eq!([recent.remove_oldest(), recent.remove_oldest()], [Some(4), None]);
    }
}
