//! Sessions of this dialect.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

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

/// The event times of streams, for the window functions whose syntax names no time column; clones share them.
#[derive(Debug, Clone, Default)]
pub struct EventTimes {
    columns: Arc<RwLock<HashMap<String, Option<usize>>>>,
}

impl EventTimes {
    /// Adds a stream with the index of its event time, if it has one.
    pub fn insert(&self, stream: impl Into<String>, column: Option<usize>) {
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        columns.insert(stream.into(), column);
    }

    /// The index of the event time of a stream; `None` when there is no such stream.
    pub(crate) fn of(&self, stream: &str) -> Option<Option<usize>> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }
}

/// Makes a session plan this dialect: window functions in FROM, types, and the functions for sensors. `event_times` may gain
/// streams later.
///
/// A plan with a window function has a [`WindowNode`](crate::WindowNode) or, from [`plan_query`](crate::plan_query), a
/// [`KeyedWindowNode`](crate::KeyedWindowNode), which the session's query planner must know.
pub fn register_dialect(ctx: &SessionContext, event_times: EventTimes) {
    let state = ctx.state();
    let mut relation_planners: Vec<Arc<dyn RelationPlanner>> = vec![Arc::new(WindowPlanner { event_times })];
    relation_planners.extend(state.relation_planners().iter().cloned());
    let state = SessionStateBuilder::new_from_existing(state)
        .with_type_planner(Arc::new(DialectTypes))
        .with_relation_planners(relation_planners)
        .build();
    *ctx.state_ref().write() = state;
    functions::aggregates().into_iter().for_each(|function| ctx.register_udaf(function));
    functions::row_functions().into_iter().for_each(|function| ctx.register_udwf(function));
}
