//! Whether a parsed statement is a query and nothing more, down through its WITH clauses, set
//! operations and derived tables. Expressions are not gone through: their functions, locks and
//! assignments are seen in the tokens (`scan.rs`), and MySQL's grammar lets no statement that
//! writes stand in them.

use sqlparser::ast::{Query, SetExpr, Statement, TableFactor, TableWithJoins};

/// Exactly one statement, a query whose every level reads.
pub(super) fn reads_only(statements: &[Statement]) -> bool {
    match statements {
        [Statement::Query(query)] => query_reads(query),
        _ => false,
    }
}

fn query_reads(query: &Query) -> bool {
    let foreign = query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty();
    let withs = query.with.as_ref().map_or(&[][..], |with| &with.cte_tables);
    query.locks.is_empty()
        && !foreign
        && withs.iter().all(|with| query_reads(&with.query))
        && set_reads(&query.body)
}

fn set_reads(set: &SetExpr) -> bool {
    match set {
        SetExpr::Select(select) => select.into.is_none() && select.from.iter().all(tables_read),
        SetExpr::Query(query) => query_reads(query),
        SetExpr::SetOperation { left, right, .. } => set_reads(left) && set_reads(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

fn tables_read(tables: &TableWithJoins) -> bool {
    table_reads(&tables.relation) && tables.joins.iter().all(|join| table_reads(&join.relation))
}

fn table_reads(table: &TableFactor) -> bool {
    match table {
        TableFactor::Derived { subquery, .. } => query_reads(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => tables_read(table_with_joins),
        TableFactor::Table { .. } | TableFactor::JsonTable { .. } => true,
        // Forms of other databases.
        _ => false,
    }
}
