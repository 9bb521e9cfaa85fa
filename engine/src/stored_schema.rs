//! The columns of a query in the stream that its rows go to, which may hold rows of an earlier text of the query.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use thermocline_log::Log;

/// The query's columns, as the stream of this name can have them.
pub(crate) fn stored_schema(log: &Log, stream: &str, query: &SchemaRef) -> SchemaRef {
    match log.stream(stream) {
        None => Arc::clone(query),
        Some(existing) => nullable_as_in(existing.schema(), query),
    }
}

/// Earlier rows have NULL in what the query has gained since, and where it could once be NULL.
fn nullable_as_in(existing: &Schema, query: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let held = existing.field_with_name(field.name());
        let nullable = field.is_nullable() || held.map_or(true, Field::is_nullable);
        field.as_ref().clone().with_nullable(nullable)
    };
    Arc::new(Schema::new(query.fields().iter().map(field).collect::<Vec<_>>()))
}
