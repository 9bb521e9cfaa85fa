//! The codes of all diagnostics. A code never changes its meaning and is never used again; `docs/errors.md` is this table.

/// A code and what it stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    /// `TC0123`
    pub(crate) id: &'static str,
    /// One sentence, in markdown.
    pub(crate) doc: &'static str,
}

/// Every code with the sentence that [`explain`] gives, in order.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|code| (code.id, code.doc))
}

/// What a code like `TC0102` stands for, in one sentence of markdown.
#[must_use]
pub fn explain(code: &str) -> Option<&'static str> {
    ALL.iter().find(|known| known.id == code).map(|known| known.doc)
}

/// The code with this name, `default` where there is none.
pub(crate) fn by_id(id: &str, default: Code) -> Code {
    ALL.iter().copied().find(|code| code.id == id).unwrap_or(default)
}

/// Those about `OVER`, which stand at that word.
pub(crate) const OVER: [Code; 6] = [OVER_ORDER, OVER_UNBOUNDED, OVER_ENDLESS, OVER_FUNCTION, OVER_NESTED, OVER_KEYS];

macro_rules! codes {
    ($($name:ident = $id:literal, $doc:literal;)*) => {
        $(#[allow(dead_code, reason = "shape analysis and the server name theirs by their text")]
        #[doc = $doc]
        pub(crate) const $name: Code = Code { id: $id, doc: $doc };)*
        /// Every code, in order.
        pub(crate) const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    // 00: text and syntax
    TOKEN = "TC0001", "The text cannot be split into words: an unterminated string, comment or quoted name.";
    SYNTAX = "TC0002", "Syntax error.";
    STATEMENT = "TC0003", "A statement that a pipeline does not have.";
    VARIABLE = "TC0004", "`${VAR}` names an environment variable that is not set and gives no default, or is malformed.";
    CLAUSE = "TC0005", "A clause stands twice, or one that is needed is missing.";
    TOO_DEEP = "TC0006", "A statement that is too long, or nested too deeply.";

    // 01: names
    NO_TABLE = "TC0101", "There is no stream, table or view of this name.";
    NO_COLUMN = "TC0102", "There is no column of this name.";
    AMBIGUOUS = "TC0103", "More than one column has this name: say whose it is.";
    NO_FUNCTION = "TC0104", "There is no function of this name.";
    DUPLICATE_NAME = "TC0105", "Two statements declare the same name.";
    DUPLICATE_COLUMN = "TC0106", "Two columns have the same name.";
    CYCLE = "TC0107", "Views or queries depend on each other in a circle.";
    NO_TARGET = "TC0108", "The target of an `INSERT` or the sink of an alert does not exist.";
    WRONG_TARGET = "TC0109", "Rows cannot be written there: only a stream or a sink takes them, and only a sink takes alerts.";
    SINK_AS_TABLE = "TC0110", "A sink cannot be read from.";

    // 02: declarations
    NO_TYPE = "TC0201", "There is no type of this name.";
    NO_OPTION = "TC0202", "There is no option of this name.";
    OPTION_VALUE = "TC0203", "The option cannot have this value.";
    OPTION_MISSING = "TC0204", "An option that is needed is missing.";
    OPTION_TWICE = "TC0205", "An option is given twice.";
    CONSTRAINT = "TC0206", "A column constraint that is not supported here.";
    WATERMARK = "TC0207", "The watermark must be a `TIMESTAMP` column of the stream minus a fixed interval.";
    SECRET = "TC0208", "A secret is not set or cannot be read; found when the pipeline starts.";
    COLUMN_TYPE = "TC0209", "The column cannot be used for this because of its type.";
    STORED_STREAM = "TC0210", "The data directory holds the stream with columns, partitions or a key that cannot become these; found when the pipeline starts.";

    // 03: what a stream cannot do; found by `shape`
    SHAPE_NO_STREAM = "TC0301", "The query reads no stream, so it would never emit anything.";
    SHAPE_STREAMS = "TC0302", "The query reads streams more than once, and is not one join of two streams.";
    SHAPE_NESTED = "TC0303", "A window function over another window function.";
    SHAPE_SUBQUERY = "TC0304", "A subquery over a stream inside an expression has no end.";
    SHAPE_OUTER = "TC0305", "This join keeps table rows that no stream row matches, which is never known.";
    SHAPE_GROUPING = "TC0306", "Grouping sets, `ROLLUP` and `CUBE` are not supported over a stream.";
    SHAPE_ENDLESS = "TC0307", "The aggregate of a stream would never be complete: aggregate over a window.";
    SHAPE_WINDOW_COLUMN = "TC0308", "Below a windowed aggregate, a window's columns can only be grouped by.";
    SHAPE_SORT = "TC0309", "`ORDER BY` over a stream would wait for its end.";
    SHAPE_LIMIT = "TC0310", "`LIMIT` over a stream would stop it for ever.";
    SHAPE_DISTINCT = "TC0311", "`DISTINCT` over a stream would remember every row.";
    SHAPE_OVER = "TC0312", "`OVER` on a stream is not supported yet (not given any more).";
    SHAPE_UNION = "TC0313", "A set operation that a stream cannot have: `UNION`, `EXCEPT`, `INTERSECT`, `UNION ALL` with a table.";
    SHAPE_OTHER = "TC0314", "An operation that cannot run over a stream.";
    SINK_UNUSED = "TC0315", "Nothing goes into the sink; found by the server.";
    SHAPE_NO_AGGREGATE = "TC0316", "The windows of this function depend on other rows: it needs an aggregate over them.";
    SHAPE_ROW_BY_ROW = "TC0317", "Above this operation every row runs by itself: no `ORDER BY`, `LIMIT` or further aggregate.";
    UNDETERMINED = "TC0318", "A function whose value the rows do not determine, such as `now()` or `random()`: after a restart it would be another.";
    WINDOWS_MIXED = "TC0319", "`CUMULATE` has several windows of one `window_start`: `GROUP BY` has `window_end` too.";
    OVER_ORDER = "TC0330", "`OVER` on a stream goes by the stream's event time, ascending, and by nothing else.";
    OVER_UNBOUNDED = "TC0331", "This function over this frame would keep every row: bound the frame.";
    OVER_ENDLESS = "TC0332", "A frame or function that needs all rows of the key, and a stream has no last one.";
    OVER_FUNCTION = "TC0333", "A window function, frame or argument that cannot run over a stream.";
    OVER_NESTED = "TC0334", "`OVER` below another `OVER` or a windowed aggregate, or calls that look ahead with different `PARTITION BY`.";
    OVER_KEYS = "TC0335", "The first rows of each key, without a bound in time: every key would be remembered for ever.";
    JOIN_UNBOUNDED = "TC0340", "A join of streams would have to remember every row: its condition needs a bound in event time.";
    JOIN_FORM = "TC0341", "A join of streams in a form that is not supported.";
    JOIN_WATERMARK = "TC0342", "A join of streams goes by event time, and a stream of it has no `WATERMARK`.";
    VIEW_KEY = "TC0350", "A materialized view replaces rows by their key, and a column of that is not among its columns.";
    VIEW_NO_KEY = "TC0351", "The rows of a materialized view have no key that is known.";
    VIEW_UPDATES = "TC0352", "A materialized view whose rows are replaced cannot be read continuously, except straight into a sink.";
    METADATA = "TC0360", "A `METADATA` column of an unknown key, another type, or that not every door can fill.";
    ENGINE = "TC0398", "The engine cannot run the query; found by the server.";
    SHAPE_DEFECT = "TC0399", "The plan could not be cut into stages: a defect of thermocline.";

    // 04: windows
    WINDOW_ARGUMENTS = "TC0401", "The arguments of a window function are not right.";
    WINDOW_SIZE = "TC0402", "The length of a window must be a positive, fixed interval.";
    NO_WATERMARK = "TC0403", "A window over a stream that has no `WATERMARK` would never close.";
    WINDOW_TIME = "TC0404", "A window goes by the event time of one stream.";
    TIME_ZONE = "TC0405", "There is no time zone of this name.";
    EMIT_INTERVAL = "TC0406", "`EMIT EVERY` and `ALLOW LATENESS` take a fixed interval.";
    EMIT_NO_WINDOW = "TC0407", "`EMIT` and `ALLOW LATENESS` are about the results of `TUMBLE`, `HOP` and `CUMULATE`, and there are none here.";
    EMIT_APPEND_ONLY = "TC0408", "Results that are emitted early or corrected cannot go there: it takes no updates.";
    EMIT_FILTERED = "TC0409", "Above results that are emitted early or corrected every row runs by itself: one that was emitted cannot be taken back.";
    WATERMARK_KEY = "TC0410", "A watermark `PER` key needs all rows of a key in one partition: `PARTITION BY` takes columns of the key.";
    KEY_MISSING = "TC0411", "A query over a stream with a watermark `PER` key is grouped or partitioned by that key, unchanged.";
    KEY_EARLY = "TC0412", "`EMIT ON UPDATE` and `EMIT EVERY` are not supported over a stream with a watermark `PER` key.";
    KEY_ROW_BY_ROW = "TC0413", "Over a stream with a watermark `PER` key a window closes key by key: above it every row runs by itself.";
    KEY_JOIN = "TC0414", "A join of streams goes by one watermark, and a stream of it has one `PER` key.";
    KEY_ALERT = "TC0415", "The `KEY` of an alert over a stream with a watermark `PER` key has that key.";

    NO_DATA_INTERVAL = "TC0420", "`NO DATA FOR` and `FORGET AFTER` take a fixed, positive interval; the second is the longer one.";
    NO_DATA_ROWS = "TC0421", "`NO DATA FOR` watches the rows of one stream as they come: no window, `OVER` or join of streams.";
    NO_DATA_WATERMARK = "TC0422", "`NO DATA FOR` goes by event time, and the stream has no `WATERMARK`.";
    EXPECTING_STREAM = "TC0423", "`EXPECTING` takes a query over reference tables: a stream has no last row.";
    EXPECTING_COLUMN = "TC0424", "The query of `EXPECTING` lacks a `KEY` column, or has a column of another type than the alert's query.";
    EXPECTING_KEY = "TC0425", "`EXPECTING` without `KEY`: there is nothing to know the expected ones by.";
    FORGET_KEYS = "TC0426", "`FORGET AFTER` is about keys that were heard once: not without `KEY`, and not with `EXPECTING`.";

    // 05: alerts
    NOT_BOOLEAN = "TC0501", "`RAISE WHEN` and `CLEAR WHEN` take a condition.";
    NOT_TEXT = "TC0502", "`SEVERITY` and `SUMMARY` take text.";
    ALERT_KEY = "TC0503", "A `KEY` column is not among the columns of the alert's query.";
    ALERT_TIME = "TC0504", "The alert's query has no time column: neither `window_end` nor the stream's event time.";
    ALERT_EXPRESSION = "TC0505", "An expression of an alert looks at one row: no aggregates, window functions or subqueries.";
    ALERT_HOLD = "TC0506", "`FOR` takes a fixed interval that is not negative.";

    // 06: queries
    PLAN = "TC0601", "The query has no meaning as it stands.";
    TYPES = "TC0602", "The types of an expression do not fit together.";
    INSERT_COUNT = "TC0603", "The query has more or fewer columns than the stream it writes to.";
    INSERT_TYPE = "TC0604", "A column of the query does not fit the stream's column without an explicit `CAST`.";
    INSERT_NULL = "TC0605", "A column of the query may be NULL, the stream's column may not.";
    IGNORED = "TC0606", "A modifier that would be ignored.";

    // 07: warnings
    NO_FILE = "TC0701", "The file of a reference table does not exist (yet).";
    NULL_COMPARISON = "TC0702", "A comparison with NULL is never true.";

    // 08: ad-hoc queries
    NOT_A_QUERY = "TC0801", "Only queries can be run ad hoc.";
    ONE_STATEMENT = "TC0802", "One statement at a time can be run ad hoc.";

    // 09: known to the dialect, not built yet
    SOON_WINDOW = "TC0901", "This window function is not supported yet (not given any more).";
    SOON_MATERIALIZED = "TC0902", "`CREATE MATERIALIZED VIEW` is not supported yet (not given any more).";
    SOON_EMIT = "TC0903", "`EMIT ON UPDATE` and `EMIT EVERY` are not supported yet (not given any more).";
    SOON_LATENESS = "TC0904", "`ALLOW LATENESS` is not supported yet (not given any more).";
    SOON_PER_KEY = "TC0905", "Watermarks per key are not supported yet (not given any more).";
    SOON_NO_DATA = "TC0906", "`NO DATA FOR` is not supported yet (not given any more).";
    SOON_METADATA = "TC0907", "`METADATA FROM` is not supported yet (not given any more).";
    SOON_ASOF = "TC0908", "As-of joins are not supported yet: in ad-hoc queries, or with `USING`.";
    SOON_FORMAT = "TC0909", "This format of a reference table is not supported yet.";
    SOON_TIME_ZONE = "TC0910", "Windows aligned to a time zone are not supported yet (not given any more).";
}
