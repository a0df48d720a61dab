//! A change of any size, as pieces of which each fits a message.
//!
//! Sizes are upper bounds of either codec's, so that none has to be encoded to be measured.

use super::table::{More, PortMap, Span, Table, TableRule};
use super::{PolicyChange, Rows, TableChange};

/// Bytes of a piece at most: three quarters of a message, which has room for what else a delta says.
pub const MAX_PIECE_BYTES: usize = 48 * 1024;

/// Bytes of numbers, lengths and the rest, at most.
const U16: usize = 3;
const U32: usize = 5;
const U128: usize = 19;
const LEN: usize = 10;
const RULE: usize = U16 + 1 + U32 + 1 + U32;
const ROW: usize = U32 + U32;
const BLOCK: usize = U128 + U32;
/// What a change of a table has besides its lists' elements: its number, and the lengths of four lists.
const TABLE: usize = U32 + 1 + U32 + 4 * LEN + 1;
const ASSIGNED: usize = U32 + 1 + 2 * U32;
const OWNED: usize = 18 + 1 + 1 + 2 * U32 + 1 + U32;

impl PolicyChange {
    /// The change as pieces that come to the same, one after the other; none if nothing changes.
    #[must_use]
    pub fn pieces(self) -> Vec<Self> {
        let mut pieces = Pieces::default();
        for id in self.gone {
            pieces.room(U32).gone.push(id);
        }
        for (id, change) in self.tables {
            match change {
                TableChange::Whole(table) => pieces.whole(id, table),
                TableChange::More(more) => pieces.parts(id, more.table, more.joins),
                TableChange::Rows(rows) => pieces.rows(id, rows),
                TableChange::Gone => pieces.room(TABLE).tables.push((id, TableChange::Gone)),
            }
        }
        for identity in self.identities {
            pieces.room(ASSIGNED).identities.push(identity);
        }
        for address in self.addresses {
            pieces.room(OWNED).addresses.push(address);
        }
        pieces.finish()
    }
}

#[derive(Default)]
struct Pieces {
    done: Vec<PolicyChange>,
    current: PolicyChange,
    used: usize,
}

impl Pieces {
    /// The piece that has room for so many bytes more.
    fn room(&mut self, bytes: usize) -> &mut PolicyChange {
        if self.used + bytes > MAX_PIECE_BYTES {
            self.done.push(std::mem::take(&mut self.current));
            self.used = 0;
        }
        self.used += bytes;
        &mut self.current
    }

    fn finish(mut self) -> Vec<PolicyChange> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }

    fn whole(&mut self, id: u32, table: Table) {
        let bytes = size(&table);
        if bytes <= MAX_PIECE_BYTES {
            self.room(bytes).tables.push((id, TableChange::Whole(table)));
            return;
        }
        let start = Table { anyone: table.anyone, ..Table::default() };
        self.room(TABLE).tables.push((id, TableChange::Whole(start)));
        self.parts(id, table, false);
    }

    /// Goes on with a table, a list at a time.
    fn parts(&mut self, id: u32, table: Table, joins: bool) {
        let Table { rules, identities, blocks, maps, anyone: _ } = table;
        for rules in chunks(rules, |_: &TableRule| RULE) {
            self.more(id, Table { rules, ..Table::default() }, false);
        }
        for identities in chunks(identities, |_| ROW) {
            self.more(id, Table { identities, ..Table::default() }, false);
        }
        for blocks in chunks(blocks, |_| BLOCK) {
            self.more(id, Table { blocks, ..Table::default() }, false);
        }
        let mut joins = joins;
        for map in maps {
            for spans in parts_of(map) {
                self.more(id, Table { maps: vec![spans], ..Table::default() }, joins);
                joins = true;
            }
            joins = false;
        }
    }

    /// In the change that is there for the same table, if it can be: maps are many and small.
    fn more(&mut self, id: u32, table: Table, joins: bool) {
        let bytes = size(&table);
        let current = self.room(bytes);
        match current.tables.last_mut() {
            Some((last, TableChange::More(more))) if *last == id && !joins => {
                more.table.rules.extend(table.rules);
                more.table.identities.extend(table.identities);
                more.table.blocks.extend(table.blocks);
                more.table.maps.extend(table.maps);
            }
            _ => current.tables.push((id, TableChange::More(More { table, joins }))),
        }
    }

    fn rows(&mut self, id: u32, rows: Rows) {
        let Rows { maps, more, rows } = rows;
        for (at, map) in maps {
            let mut parts = parts_of(map).into_iter();
            let first = parts.next().unwrap_or_default();
            self.some_rows(id, spans_size(&first.0), Rows { maps: vec![(at, first)], ..Rows::default() });
            self.more_of_map(id, at, parts);
        }
        for (at, map) in more {
            self.more_of_map(id, at, parts_of(map).into_iter());
        }
        for rows in chunks(rows, |_| ROW) {
            self.some_rows(id, rows.len() * ROW, Rows { rows, ..Rows::default() });
        }
    }

    fn more_of_map(&mut self, id: u32, at: u32, parts: impl Iterator<Item = PortMap>) {
        for part in parts {
            self.some_rows(id, spans_size(&part.0), Rows { more: vec![(at, part)], ..Rows::default() });
        }
    }

    /// In the change that is there for the same table, if that leaves the order as it is.
    fn some_rows(&mut self, id: u32, bytes: usize, rows: Rows) {
        let current = self.room(TABLE + U32 + LEN + bytes);
        match current.tables.last_mut() {
            Some((last, TableChange::Rows(known)))
                if *last == id && known.more.is_empty() && rows.more.is_empty() =>
            {
                known.maps.extend(rows.maps);
                known.rows.extend(rows.rows);
            }
            _ => current.tables.push((id, TableChange::Rows(rows))),
        }
    }
}

/// The spans of a map, as many at a time as fit a piece; at least one part.
fn parts_of(map: PortMap) -> Vec<PortMap> {
    let mut parts: Vec<_> = chunks(map.0, |span: &Span| span_size(span)).into_iter().map(PortMap).collect();
    if parts.is_empty() {
        parts.push(PortMap::default());
    }
    parts
}

/// In lists of which each has room in a piece beside what surrounds it.
fn chunks<T>(list: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut used = usize::MAX / 2;
    for element in list {
        let bytes = size(&element);
        if used + bytes > MAX_PIECE_BYTES - 2 * TABLE {
            chunks.push(Vec::new());
            used = 0;
        }
        used += bytes;
        if let Some(last) = chunks.last_mut() {
            last.push(element);
        }
    }
    chunks
}

fn size(table: &Table) -> usize {
    let maps: usize = table.maps.iter().map(|map| spans_size(&map.0)).sum();
    TABLE + table.rules.len() * RULE + table.identities.len() * ROW + table.blocks.len() * BLOCK + maps
}

fn spans_size(spans: &[Span]) -> usize {
    LEN + spans.iter().map(span_size).sum::<usize>()
}

fn span_size(span: &Span) -> usize {
    U32 + LEN + span.ranks.len() * U32
}

#[cfg(test)]
mod tests;
