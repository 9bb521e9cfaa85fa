use thermocline_sql::SourceFile;

use super::*;

fn pipeline(statements: &str) -> thermocline_sql::Pipeline {
    let streams = "CREATE STREAM a (v BIGINT); CREATE STREAM b (v BIGINT); CREATE STREAM c (v BIGINT);";
    let file = SourceFile { path: "test.sql".into(), text: format!("{streams}{statements}") };
    let checked = thermocline_sql::check(&[file], &|_| None);
    checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

fn names(queries: &[ContinuousQuery<'_>]) -> Vec<String> {
    queries.iter().map(ContinuousQuery::name).collect()
}

#[test]
fn a_query_comes_after_those_that_write_what_it_reads() {
    let pipeline =
        pipeline("INSERT INTO c SELECT v FROM b; INSERT INTO b SELECT v FROM a; INSERT INTO c SELECT v FROM a;");
    let ordered = in_flow_order(&ContinuousQuery::all(&pipeline)).unwrap();
    assert_eq!(names(&ordered), ["b", "c.2", "c"]);
}

#[test]
fn a_circle_is_named() {
    let mut pipeline = pipeline("INSERT INTO b SELECT v FROM a; INSERT INTO c SELECT v FROM b;");
    // The checker refuses circles: this one is made behind its back.
    pipeline.queries[1].target = thermocline_sql::Target::Stream("a".into());
    let error = in_flow_order(&ContinuousQuery::all(&pipeline)).unwrap_err();
    assert_eq!(error.to_string(), "the queries b, c feed each other in a circle");
    assert_eq!(error.class(), crate::ErrorClass::User);
}
