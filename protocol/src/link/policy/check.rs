//! What must hold of a table before anything is decided by it.

use super::table::{PortMap, Table};

impl Table {
    /// What is wrong with it, if anything is.
    ///
    /// # Errors
    /// Says which part does not keep what [`Table`] promises.
    pub fn check(&self) -> Result<(), String> {
        if !self.rules.is_sorted_by_key(|rule| rule.tier) {
            return Err("its rules are not sorted by tier".to_owned());
        }
        if !self.identities.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("its identities are not sorted".to_owned());
        }
        if !self.blocks.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("its address ranges are not sorted".to_owned());
        }
        if self.maps.first().is_some_and(|map| !map.0.is_empty()) {
            return Err("map 0 is not empty".to_owned());
        }
        let of_identities = self.identities.iter().map(|(_, map)| *map);
        let of_blocks = self.blocks.iter().map(|(_, map)| *map);
        let mut used = std::iter::once(self.anyone).chain(of_identities).chain(of_blocks);
        if let Some(map) = used.find(|map| *map != 0 && *map as usize >= self.maps.len()) {
            return Err(format!("there is no map {map}, only {}", self.maps.len()));
        }
        let mut maps = self.maps.iter().enumerate();
        maps.find_map(|(at, map)| Some((at, map.problem(self.rules.len())?)))
            .map_or(Ok(()), |(at, problem)| Err(format!("map {at}: {problem}")))
    }

    /// How much of it there is: elements of all its lists.
    #[must_use]
    pub fn cells(&self) -> usize {
        let spans = self.maps.iter().flat_map(|map| &map.0).map(|span| 1 + span.ranks.len());
        let lists = self.rules.len() + self.identities.len() + self.blocks.len() + self.maps.len();
        lists + spans.sum::<usize>()
    }
}

impl PortMap {
    fn problem(&self, rules: usize) -> Option<String> {
        if !self.0.is_sorted_by(|a, b| a.from < b.from) {
            return Some("its spans are not sorted".to_owned());
        }
        for span in &self.0 {
            if !span.ranks.is_sorted_by(|a, b| a < b) {
                return Some(format!("the ranks from {} are not sorted", span.from));
            }
            if let Some(rank) = span.ranks.last().filter(|rank| **rank as usize >= rules) {
                return Some(format!("there is no rule {rank}, only {rules}"));
            }
        }
        None
    }
}
