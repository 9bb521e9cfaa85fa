//! Which column of the rows plays which part where no option says so.

use arrow::datatypes::{DataType, Schema};

/// The event time: the one that was named, else `ts`, else `window_start`, else the first timestamp column.
pub(crate) fn event_time(schema: &Schema, named: Option<&str>) -> Option<usize> {
    let is_time = |index: &usize| matches!(schema.field(*index).data_type(), DataType::Timestamp(_, _));
    if let Some(name) = named {
        return schema.index_of(name).ok().filter(is_time);
    }
    ["ts", "window_start"]
        .iter()
        .find_map(|name| schema.index_of(name).ok().filter(is_time))
        .or_else(|| (0..schema.fields().len()).find(is_time))
}

/// Whether a column holds text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// The first text column.
pub(crate) fn first_text(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| is_text(field.data_type()))
}
