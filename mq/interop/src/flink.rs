//! The program around Apache Flink: a job that reads Canal's JSON as any job of Flink SQL does.

use crate::{cache, cache_lock, finish_with_output, here, maven};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const VERSION: &str = "1.20.3";
/// Flink SQL with its own little cluster in one process, and the formats of flink-json: 50 jars, 118 MB.
const ARTIFACTS: &[&str] = &[
    "org.apache.flink:flink-json",
    "org.apache.flink:flink-table-planner-loader",
    "org.apache.flink:flink-table-runtime",
    "org.apache.flink:flink-clients",
    "org.apache.flink:flink-table-api-java-bridge",
    "org.apache.flink:flink-connector-files",
];

/// The compiled program and the jars it runs with.
pub struct Flink {
    classpath: String,
}

/// Texts of a row's values.
pub type Row = Vec<Option<String>>;

/// A table for Flink SQL.
pub struct Table<'a> {
    /// Its name in the messages.
    pub name: &'a str,
    /// Columns as in CREATE TABLE, with Flink's types.
    pub columns: &'a str,
    /// Names of the key columns.
    pub key: &'a [&'a str],
}

impl Flink {
    /// Fetches Flink from Maven Central (once) and compiles the program against it.
    pub fn prepare() -> Result<Flink> {
        let _lock = cache_lock()?;
        let folder = cache(&format!("flink-{VERSION}"))?;
        let jars = maven::fetch(&folder, ARTIFACTS, VERSION)?;
        let sources = [here().join("flink/FinalTable.java")];
        let classes = maven::compile(&folder, &jars, &sources, "compile the program around Flink")?;
        Ok(Flink {
            classpath: format!("{}:{}/*", classes.display(), jars.display()),
        })
    }

    /// The rows of tables after all messages of a file (one JSON object on each line), by table and in no order; each value
    /// as Flink's CAST AS STRING gives it.
    pub fn final_rows(&self, file: &Path, tables: &[Table<'_>]) -> Result<BTreeMap<String, Vec<Row>>> {
        let mut command = Command::new("java");
        command.arg("-Xmx600m");
        // What Flink's own start script opens on Java 17.
        for package in ["lang", "net", "time", "util"] {
            command.arg(format!("--add-opens=java.base/java.{package}=ALL-UNNAMED"));
        }
        command.args(["-cp", &self.classpath, "FinalTable"]).arg(file);
        for table in tables {
            command.args([table.name, table.columns, &table.key.join(",")]);
        }
        let printed = finish_with_output(&mut command, "run the job in Flink")?;
        let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for line in printed.lines().filter_map(|line| line.strip_prefix("ROW ")) {
            let mut words = line.split(' ');
            let table = words.next().unwrap_or_default().to_owned();
            rows.entry(table)
                .or_default()
                .push(words.map(value).collect::<Result<_>>()?);
        }
        Ok(rows)
    }
}

/// `-` or the hex digits of a text.
fn value(word: &str) -> Result<Option<String>> {
    if word == "-" {
        return Ok(None);
    }
    let digits = word.strip_prefix('=').context("read what the job printed")?;
    let bytes = (0..digits.len())
        .step_by(2)
        .map(|at| digits.get(at..at + 2).map(|byte| u8::from_str_radix(byte, 16)));
    let bytes: Option<Result<Vec<u8>, _>> = bytes.collect();
    let bytes = bytes.context("read what the job printed")??;
    Ok(Some(String::from_utf8(bytes)?))
}
