//! Which part of a query is at fault, when DataFusion only says that something is.
//!
//! Each expression is planned alone over the query's FROM, the innermost first. The smallest that fails is at fault, and
//! what contains it is not asked. So all mistakes of a query are found at once, each at its exact words.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::sql::planner::SqlToRel;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, JoinConstraint, JoinOperator, OrderByKind,
    Query, Select, SelectItem, SetExpr, Spanned, Statement as SqlStatement, TableFactor, Value, Visit, Visitor,
};

use crate::catalog::Catalog;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::functions;
use crate::parse::normalized;
use crate::plan_error::{self, Place};
use crate::types::sql_name;

/// A query with more expressions than this is not searched to the end.
const MAX_PROBES: usize = 500;

/// The type of an expression by itself, or why it has none.
pub(crate) type Probe<'a> = dyn Fn(&Expr) -> Result<DataType, DataFusionError> + 'a;

/// The mistakes of a query that does not plan; empty when none of its expressions is at fault by itself.
pub(crate) fn of_query(query: &Query, catalog: &Catalog, place: &Place<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    match query.body.as_ref() {
        SetExpr::Select(select) => of_select(query, select, catalog, place, &mut found),
        SetExpr::Query(inner) => found.extend(of_query(inner, catalog, place)),
        _ => {}
    }
    found
}

fn of_select(query: &Query, select: &Select, catalog: &Catalog, place: &Place<'_>, found: &mut Vec<Diagnostic>) {
    let (template, conditions) = template(query, select);
    let probe = |expr: &Expr| probe(&template, catalog, expr);
    let nothing = Expr::Value(Value::Null.into());
    if let Err(error) = probe(&nothing) {
        for factor in select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)))
        {
            if let TableFactor::Derived { subquery, .. } = factor {
                found.extend(of_query(subquery, catalog, place));
            }
        }
        if found.is_empty() && plan_error::is_specific(&error) {
            found.extend(plan_error::diagnostics(&error, place));
        }
        return;
    }
    let mut search =
        Search { probe: &probe, place, found, names: Vec::new(), failed: vec![false], queries: 0, probes: 0 };
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            search.expression(expr);
        }
    }
    conditions.iter().for_each(|condition| search.condition(condition, "ON"));
    if let Some(condition) = &select.selection {
        search.condition(condition, "WHERE");
    }
    // From here on, the columns of the select list can be named too.
    search.names = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(normalized(alias)),
            _ => None,
        })
        .collect();
    if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
        exprs.iter().for_each(|expr| search.expression(expr));
    }
    if let Some(condition) = &select.having {
        search.condition(condition, "HAVING");
    }
    if let Some(OrderByKind::Expressions(exprs)) = query.order_by.as_ref().map(|order_by| &order_by.kind) {
        exprs.iter().for_each(|order| search.expression(&order.expr));
    }
}

/// The mistakes of one expression that does not plan.
pub(crate) fn of_expression(expr: &Expr, probe: &Probe<'_>, place: &Place<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut search =
        Search { probe, place, found: &mut found, names: Vec::new(), failed: vec![false], queries: 0, probes: 0 };
    search.expression(expr);
    found
}

/// The query with nothing but its FROM, and the join conditions that were taken out of it.
fn template(query: &Query, select: &Select) -> (Query, Vec<Expr>) {
    let mut conditions = Vec::new();
    let mut select = select.clone();
    select.distinct = None;
    select.into = None;
    select.selection = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.qualify = None;
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        let (JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)) = &join.join_operator
        else {
            continue;
        };
        if let JoinConstraint::On(condition) = constraint {
            conditions.push(condition.clone());
            join.join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        }
    }
    let template = Query {
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        pipe_operators: Vec::new(),
        ..query.clone()
    };
    (template, conditions)
}

fn probe(template: &Query, catalog: &Catalog, expr: &Expr) -> Result<DataType, DataFusionError> {
    let mut query = template.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(expr.clone())];
    }
    let plan = SqlToRel::new(catalog).sql_statement_to_plan(SqlStatement::Query(Box::new(query)))?;
    let plan = catalog.analyze(plan)?;
    Ok(plan.schema().fields().first().map_or(DataType::Null, |field| field.data_type().clone()))
}

struct Search<'a> {
    probe: &'a Probe<'a>,
    place: &'a Place<'a>,
    found: &'a mut Vec<Diagnostic>,
    /// Names that stand for columns of the select list.
    names: Vec<String>,
    /// For each open expression, whether something in it was at fault.
    failed: Vec<bool>,
    /// Open subqueries: what is in them may name columns from outside.
    queries: usize,
    probes: usize,
}

impl Search<'_> {
    fn expression(&mut self, expr: &Expr) {
        // The visitor never breaks off.
        let _ = expr.visit(self);
    }

    fn condition(&mut self, expr: &Expr, clause: &str) {
        let before = self.found.len();
        self.expression(expr);
        if self.found.len() > before {
            return;
        }
        match (self.probe)(expr) {
            Ok(DataType::Boolean | DataType::Null) | Err(_) => {}
            Ok(data_type) => {
                let message = format!("{clause} takes a condition, found {}", sql_name(&data_type));
                let span = self.place.words(expr.span());
                self.found.push(Diagnostic::error(codes::TYPES, span, message).hint("compare it with something"));
            }
        }
    }

    /// Whether an expression can be asked by itself.
    fn stands_alone(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Identifier(ident) => !self.names.contains(&normalized(ident)),
            Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::Tuple(_)
            | Expr::Rollup(_)
            | Expr::Cube(_)
            | Expr::GroupingSets(_)
            | Expr::Lambda(_)
            | Expr::Named { .. } => false,
            _ => true,
        }
    }

    fn report(&mut self, expr: &Expr, error: &DataFusionError) {
        let place = Place { at: expr.span(), code: codes::TYPES, ..*self.place };
        if plan_error::is_schema_error(error) {
            self.found.extend(plan_error::diagnostics(error, &place));
            return;
        }
        let type_of = |expr: &Expr| (self.probe)(expr).map_or_else(|_| "?".to_owned(), |t| sql_name(&t));
        let usage = match expr {
            Expr::Function(function) => functions::usage(&function.name.to_string().to_lowercase()),
            _ => None,
        };
        let message = match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("the operator {op} does not take {} and {}", type_of(left), type_of(right))
            }
            Expr::Function(function) if function.over.is_none() || usage.is_some() => match &function.args {
                FunctionArguments::List(list) => {
                    let types: Vec<String> = list.args.iter().filter_map(argument).map(type_of).collect();
                    format!("the function {} does not take ({})", function.name, types.join(", "))
                }
                _ => return self.found.extend(plan_error::diagnostics(error, &place)),
            },
            _ => return self.found.extend(plan_error::diagnostics(error, &place)),
        };
        let diagnostic = Diagnostic::error(codes::TYPES, place.words(expr.span()), message);
        let hint = usage.map(|usage| format!("write {usage}"));
        self.found.push(diagnostic.hint(hint.unwrap_or_else(|| "CAST(… AS type) converts between types".to_owned())));
    }
}

fn argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.failed.push(false);
        // A lambda's parameters are known only inside of it.
        self.queries += usize::from(matches!(expr, Expr::Lambda(_)));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.queries -= usize::from(matches!(expr, Expr::Lambda(_)));
        let mut failed = self.failed.pop().unwrap_or_default();
        if !failed && self.queries == 0 && self.probes < MAX_PROBES && self.stands_alone(expr) {
            self.probes += 1;
            if let Err(error) = (self.probe)(expr) {
                self.report(expr, &error);
                failed = true;
            }
        }
        if let Some(parent) = self.failed.last_mut() {
            *parent |= failed;
        }
        ControlFlow::Continue(())
    }
}
