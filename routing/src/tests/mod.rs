//! Tests of the whole: table by table, and against a slow reference.
