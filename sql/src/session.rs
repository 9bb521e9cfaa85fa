//! Sessions of this dialect.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::functions;
use crate::relation::WindowPlanner;
use crate::types::DialectTypes;

/// The configuration of every session: names in lower case as in PostgreSQL, times in UTC, text as `Utf8`.
#[must_use]
pub fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.schema_force_view_types = false;
    config
}

/// Makes a session plan this dialect: window functions in FROM, types, and the functions for sensors.
///
/// A plan with a window function has a [`WindowNode`](crate::WindowNode), which the session's query planner must know.
pub fn register_dialect(ctx: &SessionContext) {
    let state = ctx.state();
    let mut relation_planners: Vec<Arc<dyn RelationPlanner>> = vec![Arc::new(WindowPlanner)];
    relation_planners.extend(state.relation_planners().iter().cloned());
    let state = SessionStateBuilder::new_from_existing(state)
        .with_type_planner(Arc::new(DialectTypes))
        .with_relation_planners(relation_planners)
        .build();
    *ctx.state_ref().write() = state;
    functions::aggregates().into_iter().for_each(|function| ctx.register_udaf(function));
    functions::row_functions().into_iter().for_each(|function| ctx.register_udwf(function));
}
