//! Ad-hoc queries: any `SELECT` over everything the streams hold, over reference tables and views.

use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, TableScanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use thermocline_log::Log;
use thermocline_sql::EventTimes;

use crate::error::{Error, Result};
use crate::log_table::LogTable;
use crate::memory::{adhoc_runtime, count_held_rows};
use crate::session::query_context;
use crate::tables::Tables;
use crate::views::{CurrentTable, StoredView, stored_views};

/// Answers ad-hoc queries; cheap to clone.
#[derive(Debug, Clone)]
pub struct AdHoc {
    log: Log,
    tables: Option<Arc<Tables>>,
    views: Arc<Vec<(String, LogicalPlan)>>,
    /// Those of a pipeline; what the log holds when `None`.
    materialized: Option<Arc<Vec<StoredView>>>,
    event_times: EventTimes,
    runtime: Arc<RuntimeEnv>,
}

impl AdHoc {
    /// Over the streams of a log alone, that nobody else uses; a quarter of the limit is theirs, as within an engine.
    ///
    /// # Errors
    /// The directory for rows that do not fit into memory cannot be made.
    pub fn over_log(log: Log, memory_limit_bytes: u64) -> Result<Self> {
        let runtime = adhoc_runtime(&log.dir(), memory_limit_bytes)?;
        let (views, event_times) = (Arc::default(), EventTimes::default());
        Ok(Self { log, tables: None, views, materialized: None, event_times, runtime })
    }

    pub(crate) fn new(
        log: Log,
        tables: Arc<Tables>,
        views: Vec<(String, LogicalPlan)>,
        materialized: Vec<StoredView>,
        event_times: EventTimes,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        let materialized = Some(Arc::new(materialized));
        Self { log, tables: Some(tables), views: Arc::new(views), materialized, event_times, runtime }
    }

    /// Runs a query over what the streams hold now. A stream named `a.b` is table `b` of schema `a`
    /// (`late.readings`, `rejected.readings`, `alerts.overheating`, `out.metrics`).
    ///
    /// # Errors
    /// Mistakes in the query, damage of the log. While rows come: memory is short, and the query cannot spill.
    pub async fn query(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        let context = query_context(self.event_times.clone(), Arc::clone(&self.runtime));
        self.register(&context)?;
        let plan = thermocline_sql::plan_query(&context, sql).await.map_err(Error::Sql)?;
        let plan = count_held_rows(context.state().create_physical_plan(&plan).await?)?;
        Ok(execute_stream(plan, context.task_ctx())?)
    }

    fn register(&self, context: &SessionContext) -> Result<()> {
        let catalog = context.catalog("datafusion").expect("the default catalog of a session");
        let stored = match &self.materialized {
            Some(views) => Arc::clone(views),
            None => Arc::new(stored_views(&self.log)?),
        };
        let is_view = |name: &str| stored.iter().any(|(view, ..)| view == name);
        for stream in self.log.streams().into_iter().filter(|stream| !is_view(stream.name())) {
            let name = stream.name().to_owned();
            let table = Arc::new(LogTable::new(self.log.clone(), stream));
            let reference = match name.split_once('.') {
                None => TableReference::bare(name),
                Some((schema, table)) => {
                    if catalog.schema(schema).is_none() {
                        catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
                    }
                    TableReference::partial(schema, table)
                }
            };
            context.register_table(reference, table)?;
        }
        for view in stored.iter() {
            context.register_table(TableReference::bare(view.0.as_str()), self.view_table(view))?;
        }
        let Some(tables) = &self.tables else { return Ok(()) };
        for name in tables.names() {
            let table = tables.provider(name).expect("named by itself");
            context.register_table(TableReference::bare(name), table)?;
        }
        for (name, plan) in self.views.iter() {
            let plan = self.bind_streams(tables.bind(plan.clone())?)?;
            context.register_table(TableReference::bare(name.as_str()), Arc::new(ViewTable::new(plan, None)))?;
        }
        Ok(())
    }

    fn view_table(&self, (_, stream, current): &StoredView) -> Arc<dyn TableProvider> {
        match current {
            Some(current) => Arc::new(CurrentTable(Arc::clone(current))),
            None => Arc::new(LogTable::new(self.log.clone(), stream.clone())),
        }
    }

    /// What a view reads by this name.
    fn table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let mut materialized = self.materialized.iter().flat_map(|views| views.iter());
        match materialized.find(|(known, ..)| known == name) {
            Some(view) => Some(self.view_table(view)),
            None => Some(Arc::new(LogTable::new(self.log.clone(), self.log.stream(name)?))),
        }
    }

    /// A view's plan with its streams bound to what they hold.
    fn bind_streams(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let bound = plan
            .transform_up_with_subqueries(|node| match node {
                LogicalPlan::TableScan(scan) => match self.table(scan.table_name.table()) {
                    Some(table) => {
                        let scan = TableScanBuilder::new(scan.table_name, provider_as_source(table))
                            .with_projection(scan.projection)
                            .build()?;
                        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                    }
                    None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
                },
                other => Ok(Transformed::no(other)),
            })
            .data()?;
        Ok(bound)
    }
}
