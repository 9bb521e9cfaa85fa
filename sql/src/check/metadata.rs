//! Columns that are `METADATA FROM '…'`: what the doors know of a row beside the row itself.

use arrow::datatypes::{DataType, SchemaRef};

use super::Checker;
use crate::ast::{ColumnDef, MetadataFrom, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::nodes::timestamp_type;
use crate::parse::normalized;
use crate::pipeline::{Metadata, MetadataColumn};
use crate::suggest;
use crate::types::sql_name;

const KEYS: [(&str, Metadata); 4] = [
    ("key", Metadata::Key),
    ("topic", Metadata::Topic),
    ("timestamp", Metadata::Timestamp),
    ("headers", Metadata::Headers),
];

impl Checker {
    /// The metadata columns of a stream, by their index in its schema.
    pub(super) fn metadata(
        &mut self,
        statement: &Statement,
        columns: &[ColumnDef],
        schema: &SchemaRef,
    ) -> Vec<MetadataColumn> {
        let mut found = Vec::new();
        for column in columns {
            let (Some(from), Ok(index)) = (&column.metadata, schema.index_of(&normalized(&column.name))) else {
                continue;
            };
            let key = from.key.to_lowercase();
            let Some((_, metadata)) = KEYS.iter().find(|(name, _)| *name == key) else {
                self.no_metadata(statement, from);
                continue;
            };
            self.metadata_column(statement, column, schema.field(index).data_type(), (&key, *metadata));
            found.push(MetadataColumn { column: index, metadata: *metadata });
        }
        if let Some(last) = columns.last()
            && columns.iter().all(|column| column.metadata.is_some())
        {
            let message = "every column of the stream is metadata: rows have none of their own";
            self.found.push(Diagnostic::error(codes::METADATA, statement.span(last.name.span), message));
        }
        found
    }

    fn no_metadata(&mut self, statement: &Statement, from: &MetadataFrom) {
        let message = format!("no metadata \"{}\"", from.key);
        let diagnostic = Diagnostic::error(codes::METADATA, statement.span(from.key_at), message);
        let hint = suggest::hint(&from.key, KEYS.map(|(name, _)| name)).expect("there are few");
        self.found.push(diagnostic.hint(hint));
    }

    fn metadata_column(
        &mut self,
        statement: &Statement,
        column: &ColumnDef,
        found: &DataType,
        (key, metadata): (&str, Metadata),
    ) {
        let (expected, name) = match metadata {
            Metadata::Timestamp => (timestamp_type(), "TIMESTAMP"),
            Metadata::Key | Metadata::Topic | Metadata::Headers => (DataType::Utf8, "TEXT"),
        };
        if *found != expected && *found != DataType::Null {
            let message = format!("\"{}\" is {}, and this metadata is {name}", column.name.value, sql_name(found));
            let diagnostic = Diagnostic::error(codes::METADATA, statement.span(column.type_at), message);
            self.found.push(diagnostic.hint(format!("write {} {name} METADATA FROM '{key}'", column.name.value)));
        }
        if column.not_null && metadata != Metadata::Timestamp {
            let message = format!("\"{}\" is NOT NULL, and not every door knows this of a row", column.name.value);
            let diagnostic = Diagnostic::error(codes::METADATA, statement.span(column.name.span), message);
            self.found.push(diagnostic.hint("without NOT NULL it is NULL there; only the timestamp is always known"));
        }
    }

    /// A reference table has no metadata.
    pub(super) fn no_table_metadata(&mut self, statement: &Statement, columns: &[ColumnDef]) {
        for from in columns.iter().filter_map(|column| column.metadata.as_ref()) {
            let message = "a reference table has no metadata";
            let diagnostic = Diagnostic::error(codes::METADATA, statement.span(from.key_at), message);
            self.found.push(diagnostic.hint("metadata is of rows that arrive over time: CREATE STREAM"));
        }
    }
}
