//! Tables as kubectl prints them: no borders, upper-case headers, three blanks between columns.

use comfy_table::{ContentArrangement, Table, presets};

use super::Resource;

const BLANKS_BETWEEN_COLUMNS: u16 = 3;

/// A column and when it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) show: Show,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Always,
    /// With `-o wide`.
    Wide,
    /// With `-A`.
    AllNamespaces,
}

/// A column that is always there.
pub(crate) const fn column(title: &'static str) -> Column {
    Column { title, show: Show::Always }
}

/// A column of `-o wide`.
pub(crate) const fn wide(title: &'static str) -> Column {
    Column { title, show: Show::Wide }
}

/// A column of `-A`.
pub(crate) const fn all_namespaces(title: &'static str) -> Column {
    Column { title, show: Show::AllNamespaces }
}

/// Which parts of a table are shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    pub(crate) wide: bool,
    pub(crate) all_namespaces: bool,
    pub(crate) no_headers: bool,
}

impl View {
    const fn shows(self, column: &Column) -> bool {
        match column.show {
            Show::Always => true,
            Show::Wide => self.wide,
            Show::AllNamespaces => self.all_namespaces,
        }
    }
}

/// The table's lines, each with its line break; the header first, unless the view has none.
pub(crate) fn lines<R: Resource>(rows: impl Iterator<Item = Vec<String>>, view: View) -> Vec<String> {
    Widths::default().lines::<R>(rows, view)
}

/// Aligns rows of cells; also for the small tables inside `describe`.
pub(crate) fn aligned(rows: Vec<Vec<String>>) -> Vec<String> {
    Widths::default().aligned(rows)
}

/// How wide columns have been so far, so that the rows of `-w` stay below their header.
#[derive(Debug, Default)]
pub(crate) struct Widths(Vec<usize>);

impl Widths {
    /// See [`lines`].
    pub(crate) fn lines<R: Resource>(
        &mut self,
        rows: impl Iterator<Item = Vec<String>>,
        view: View,
    ) -> Vec<String> {
        let titles =
            R::COLUMNS.iter().filter(|column| view.shows(column)).map(|column| column.title.to_owned());
        let header = (!view.no_headers).then(|| titles.collect::<Vec<_>>());
        let shown = rows.map(|cells| {
            let columns = cells.into_iter().zip(R::COLUMNS);
            columns.filter(|(_, column)| view.shows(column)).map(|(cell, _)| cell).collect()
        });
        self.aligned(header.into_iter().chain(shown).collect())
    }

    fn aligned(&mut self, rows: Vec<Vec<String>>) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        for row in rows {
            let cells = row.into_iter().enumerate().map(|(column, cell)| {
                let width = self.0.get(column).copied().unwrap_or(0);
                // A cell with a line break would tear the table apart.
                format!("{:<width$}", cell.replace('\n', " "))
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, BLANKS_BETWEEN_COLUMNS));
        }
        self.0 = table.column_max_content_widths().into_iter().map(usize::from).collect();
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}
