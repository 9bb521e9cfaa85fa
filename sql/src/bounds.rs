//! Bounds on a statement, so that no text, however odd, can exhaust the stack of the thread that reads it.
//!
//! The parser makes a tree of any depth out of `x + x + x + …`; what walks or frees the tree recurses. So statements are
//! read on a stack that is large enough for the longest, and trees that are too deep for anybody else are refused.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Select, TableFactor, Visit, Visitor};

/// Tokens of a statement.
pub(crate) const MAX_TOKENS: usize = 20_000;
/// Depth of an expression.
const MAX_DEPTH: usize = 200;
/// Tables and SELECTs of a statement, each a level of its plan.
const MAX_RELATIONS: usize = 200;
/// Stack for reading a statement of [`MAX_TOKENS`].
const STACK_BYTES: usize = 128 << 20;

/// Runs `read` with room for the deepest tree.
pub(crate) fn with_room<T>(read: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, read)
}

/// Whether a tree is shallow enough for everybody else.
pub(crate) fn is_bounded(ast: &impl Visit) -> bool {
    let mut levels = Levels { depth: 0, relations: 0 };
    ast.visit(&mut levels).is_continue()
}

struct Levels {
    depth: usize,
    relations: usize,
}

impl Levels {
    fn within_bounds(&self) -> ControlFlow<()> {
        if self.depth > MAX_DEPTH || self.relations > MAX_RELATIONS {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Levels {
    type Break = ();

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        self.within_bounds()
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _select: &Select) -> ControlFlow<()> {
        self.relations += 1;
        self.within_bounds()
    }

    fn pre_visit_table_factor(&mut self, _factor: &TableFactor) -> ControlFlow<()> {
        self.relations += 1;
        self.within_bounds()
    }
}
