//! The statements of a pipeline, as they were written: names and types unchecked.

use std::path::PathBuf;
use std::sync::Arc;

use sqlparser::ast::{DataType, Expr, Ident, Query};
use sqlparser::tokenizer::{Span as At, TokenWithSpan};

use crate::codes::{self, Code};
use crate::plan_error::Place;
use crate::source::Span;

/// A statement and where it stands.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    pub(crate) file: Arc<PathBuf>,
    pub(crate) at: At,
    pub(crate) sql: String,
    pub(crate) tokens: Vec<TokenWithSpan>,
}

impl Statement {
    /// The whole words at a position; the whole statement when it is unknown.
    pub(crate) fn span(&self, at: At) -> Span {
        self.place(at, codes::PLAN).words(at)
    }

    /// Where an error belongs that does not say so itself.
    pub(crate) fn place(&self, at: At, code: Code) -> Place<'_> {
        let at = if at == At::empty() { self.at } else { at };
        Place { file: &self.file, tokens: &self.tokens, at, code }
    }
}

#[derive(Debug)]
pub(crate) enum Kind {
    Stream(Box<CreateStream>),
    Table(CreateTable),
    View(CreateView),
    MaterializedView(CreateMaterializedView),
    Sink(CreateSink),
    Insert(Insert),
    Alert(Box<CreateAlert>),
}

#[derive(Debug)]
pub(crate) struct CreateStream {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) partition_by: Vec<Ident>,
    pub(crate) options: Vec<OptionDef>,
}

#[derive(Debug)]
pub(crate) struct ColumnDef {
    pub(crate) name: Ident,
    pub(crate) data_type: DataType,
    /// Where the type stands.
    pub(crate) type_at: At,
    pub(crate) not_null: bool,
    pub(crate) primary_key: Option<At>,
    pub(crate) metadata: Option<MetadataFrom>,
}

/// `METADATA FROM '…'`; without FROM the column's name is meant.
#[derive(Debug)]
pub(crate) struct MetadataFrom {
    pub(crate) key: String,
    /// Where the key stands, or the word without one.
    pub(crate) key_at: At,
}

#[derive(Debug)]
pub(crate) struct Watermark {
    pub(crate) column: Ident,
    pub(crate) expr: Expr,
    pub(crate) expr_at: At,
    /// `PER …`
    pub(crate) per: Option<Per>,
}

/// `PER key`: whose watermark it is.
#[derive(Debug)]
pub(crate) struct Per {
    pub(crate) columns: Vec<Ident>,
    pub(crate) at: At,
}

#[derive(Debug)]
pub(crate) struct OptionDef {
    /// In lower case.
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) value: crate::pipeline::OptionValue,
    pub(crate) value_at: At,
}

#[derive(Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<ColumnDef>,
    /// `PRIMARY KEY (…)` after the columns.
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) options: Vec<OptionDef>,
}

#[derive(Debug)]
pub(crate) struct CreateView {
    pub(crate) name: Ident,
    pub(crate) query: Body,
}

#[derive(Debug)]
pub(crate) struct CreateMaterializedView {
    pub(crate) name: Ident,
    pub(crate) options: Vec<OptionDef>,
    pub(crate) query: Body,
}

#[derive(Debug)]
pub(crate) struct CreateSink {
    pub(crate) name: Ident,
    pub(crate) options: Vec<OptionDef>,
    pub(crate) query: Option<Body>,
}

#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) target: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Body,
}

/// A query and where it stands.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) query: Box<Query>,
    pub(crate) at: At,
    pub(crate) emit: EmitClauses,
}

/// What stands behind a query: when its results are emitted.
#[derive(Debug, Default)]
pub(crate) struct EmitClauses {
    /// `EMIT …`
    pub(crate) emit: Option<EmitClause>,
    /// `ALLOW LATENESS INTERVAL '…'`, from its first word.
    pub(crate) lateness: Option<Clause>,
}

#[derive(Debug)]
pub(crate) enum EmitClause {
    OnWindowClose,
    OnUpdate(At),
    /// From its first word.
    Every(Box<Clause>),
}

/// An expression and where it stands.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) expr: Expr,
    pub(crate) at: At,
}

/// `RAISE WHEN …`
#[derive(Debug)]
pub(crate) enum Raise {
    /// `condition [FOR INTERVAL '…']`
    When {
        condition: Box<Clause>,
        hold: Option<Box<Clause>>,
    },
    NoData(Box<NoData>),
}

/// `NO DATA FOR INTERVAL '…' [EXPECTING (query)] [FORGET AFTER INTERVAL '…']`
#[derive(Debug)]
pub(crate) struct NoData {
    pub(crate) interval: Clause,
    pub(crate) expecting: Option<Body>,
    pub(crate) forget: Option<Clause>,
}

#[derive(Debug)]
pub(crate) struct CreateAlert {
    pub(crate) name: Ident,
    pub(crate) sink: Ident,
    pub(crate) key: Vec<Ident>,
    pub(crate) raise: Raise,
    pub(crate) clear: Option<Clause>,
    pub(crate) severity: Option<Clause>,
    pub(crate) summary: Option<Clause>,
    pub(crate) query: Body,
}
