//! What names mean while a query is planned: tables, views, functions and types, for DataFusion's SQL front end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ResolvedTableReference, Result, TableReference, plan_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, TableType, WindowUDF,
};
use datafusion::optimizer::Analyzer;

use crate::asof;
use crate::types::DialectTypes;

/// The tables of a query, with the functions of a session.
pub(crate) struct Catalog {
    pub(crate) state: SessionState,
    tables: HashMap<ResolvedTableReference, Arc<dyn TableSource>>,
}

impl Catalog {
    pub(crate) fn new(state: SessionState) -> Self {
        Self { state, tables: HashMap::new() }
    }

    pub(crate) fn resolve(&self, name: TableReference) -> ResolvedTableReference {
        let defaults = &self.state.config_options().catalog;
        name.resolve(&defaults.default_catalog, &defaults.default_schema)
    }

    pub(crate) fn insert(&mut self, name: TableReference, source: Arc<dyn TableSource>) {
        self.tables.insert(self.resolve(name), source);
    }

    pub(crate) fn contains(&self, name: TableReference) -> bool {
        self.tables.contains_key(&self.resolve(name))
    }

    /// Type coercion, and no optimisation.
    pub(crate) fn analyze(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        Analyzer::new().execute_and_check(plan, self.state.config_options(), |_, _| {})
    }

    /// Whether there is a function of this name, of any kind.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        name == asof::MARKER
            || self.state.scalar_functions().contains_key(name)
            || self.state.aggregate_functions().contains_key(name)
            || self.state.window_functions().contains_key(name)
            || self.state.higher_order_functions().contains_key(name)
    }

    /// The names of all functions.
    pub(crate) fn function_names(&self) -> Vec<&str> {
        let scalar = self.state.scalar_functions().keys();
        let aggregate = self.state.aggregate_functions().keys();
        let mut names: Vec<&str> =
            scalar.chain(aggregate).chain(self.state.window_functions().keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let resolved = self.resolve(name);
        self.tables.get(&resolved).cloned().ok_or_else(|| plan_datafusion_err!("table '{resolved}' not found"))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let function = self.state.table_functions().get(name);
        let function = function.ok_or_else(|| plan_datafusion_err!("table function '{name}' not found"))?;
        let args = TableFunctionArgs::new(&args, &self.state);
        Ok(provider_as_source(function.create_table_provider_with_args(args)?))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(DialectTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == asof::MARKER {
            return Some(asof::marker());
        }
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// A stream or reference table of a pipeline: its columns, no rows.
#[derive(Debug)]
pub(crate) struct DeclaredTable {
    pub(crate) schema: SchemaRef,
}

impl TableSource for DeclaredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A view: DataFusion puts its plan in the place of its name.
pub(crate) struct InlinedView {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl InlinedView {
    pub(crate) fn new(plan: LogicalPlan) -> Self {
        Self { schema: Arc::clone(plan.schema().inner()), plan }
    }
}

impl TableSource for InlinedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}
