//! `ASOF JOIN … MATCH_CONDITION (…) ON …`: planned as a left join whose condition has the match condition inside of a marker,
//! a function that only [`shape`](crate::shape) knows. So names and types in it are checked like everywhere else.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr as PlanExpr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, Spanned, VisitMut, VisitorMut,
};

/// Name of the marker; nobody calls a function of theirs like this.
pub(crate) const MARKER: &str = "match condition";

/// The marker as a function.
pub(crate) fn marker() -> Arc<ScalarUDF> {
    static MARKER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Marker::new())));
    Arc::clone(&MARKER)
}

/// The match condition that an expression marks.
pub(crate) fn match_condition(expr: &PlanExpr) -> Option<&PlanExpr> {
    match expr {
        PlanExpr::ScalarFunction(call) if call.func.name() == MARKER => call.args.first(),
        PlanExpr::Alias(alias) => match_condition(&alias.expr),
        _ => None,
    }
}

/// Writes the as-of joins of a query as marked left joins. One with `USING` stays, and is refused as it is.
pub(crate) fn rewrite(query: &mut Query) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(query, &mut Rewrite);
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            if let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator {
                let marked = marked(match_condition.clone());
                let condition = match constraint {
                    JoinConstraint::On(on) => Expr::BinaryOp {
                        left: Box::new(Expr::Nested(Box::new(on.clone()))),
                        op: BinaryOperator::And,
                        right: Box::new(marked),
                    },
                    JoinConstraint::None => marked,
                    _ => continue,
                };
                join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(condition));
            }
        }
        ControlFlow::Continue(())
    }
}

fn marked(condition: Expr) -> Expr {
    let name = Ident { value: MARKER.to_owned(), quote_style: Some('"'), span: condition.span() };
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(condition))];
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    signature: Signature,
}

impl Marker {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Boolean], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        MARKER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("an as-of join runs over two streams of a continuous query")
    }
}
