//! What a statement of the binlog does, and to which tables: as much as the relay and the mirror need, from tokens alone.
//!
//! This is no grammar: servers learn syntax faster than readers of their binlog. Text that is not understood is [`Kind::Other`] without tables, never
//! an error. The lexical rules are those of MySQL's manual, "Language Structure": comments (also the kind that is executed), quoted names, strings.

use std::borrow::Cow;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CREATE TABLE.
    Create,
    /// ALTER TABLE, also one that renames it.
    Alter,
    /// DROP TABLE and DROP DATABASE.
    Drop,
    /// TRUNCATE TABLE.
    Truncate,
    /// RENAME TABLE.
    Rename,
    /// CREATE INDEX.
    CreateIndex,
    /// DROP INDEX.
    DropIndex,
    /// INSERT, UPDATE, DELETE, REPLACE, LOAD: a change of rows in statement format, of which the binlog shows no rows.
    Dml,
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, XA and the like.
    Transaction,
    /// Accounts, variables, maintenance, questions: nothing that changes a table.
    Server,
    /// All else: views, triggers, routines, databases, and what is not recognised.
    Other,
}

impl Kind {
    /// The `type` of a DDL message, as Canal names it; `None` for statements that are no DDL.
    pub fn message_type(self) -> Option<&'static str> {
        match self {
            Kind::Create => Some("CREATE"),
            Kind::Alter => Some("ALTER"),
            Kind::Drop => Some("ERASE"),
            Kind::Truncate => Some("TRUNCATE"),
            Kind::Rename => Some("RENAME"),
            Kind::CreateIndex => Some("CINDEX"),
            Kind::DropIndex => Some("DINDEX"),
            Kind::Other => Some("QUERY"),
            Kind::Dml | Kind::Transaction | Kind::Server => None,
        }
    }
}

/// A statement, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does.
    pub kind: Kind,
    /// The tables that it changes, as (database, table), in the order of the text: of a renaming the old and the new name of each. Tables that are only
    /// read (LIKE, SELECT, REFERENCES) are not listed. The database is "" when neither the text nor the session names one.
    pub tables: Vec<(String, String)>,
    /// The database that DROP DATABASE removes, with all its tables.
    pub database: Option<String>,
}

/// Reads a statement. `default_database` is that of its session; `ansi_quotes` says whether its sql_mode has ANSI_QUOTES.
pub fn read(sql: &str, default_database: &str, ansi_quotes: bool) -> Statement {
    let tokens = tokens(sql, ansi_quotes);
    Reader {
        tokens: &tokens,
        at: 0,
        default_database,
    }
    .statement()
}

/// Puts other databases in the place of those that qualify names: `rename` answers the new name of a database, or `None` to leave it. All else of the
/// text stays as it is, byte for byte.
pub fn rename_database(sql: &str, ansi_quotes: bool, rename: impl Fn(&str) -> Option<String>) -> String {
    let tokens = tokens(sql, ansi_quotes);
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for at in 0..tokens.len() {
        let after = |by: usize| tokens.get(at + by);
        let qualifies = tokens[at].name().is_some()
            && after(1).is_some_and(|t| t.is_symbol('.'))
            && after(2).is_some_and(|t| t.name().is_some())
            && !(at > 0 && (tokens[at - 1].is_symbol('.') || tokens[at - 1].is_symbol('@')));
        if !qualifies {
            continue;
        }
        let old = tokens[at].name().unwrap_or_default();
        let Some(new) = rename(&old).filter(|new| **new != *old) else {
            continue;
        };
        out.push_str(&sql[copied..tokens[at].start]);
        out.push_str(&quoted(&new));
        copied = tokens[at].end;
    }
    out.push_str(&sql[copied..]);
    out
}

/// A CREATE TABLE without the suffix START TRANSACTION, under which MySQL logs CREATE TABLE … SELECT since 8.0.21: it would keep the transaction open for
/// the rows that follow.
pub fn without_start_transaction(sql: &str) -> &str {
    let tokens = tokens(sql, false);
    let mut tokens = tokens.as_slice();
    while let [rest @ .., last] = tokens
        && last.is_symbol(';')
    {
        tokens = rest;
    }
    match tokens {
        [first, .., start, transaction] if first.is("CREATE") && start.is("START") && transaction.is("TRANSACTION") => {
            sql[..start.start].trim_end()
        }
        _ => sql,
    }
}

/// A name in backquotes.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A piece of the text that has a meaning; blanks and comments have none.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    /// Where it starts, in bytes.
    start: usize,
    /// Where it ends.
    end: usize,
    sort: Sort,
    text: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A keyword, an unquoted name, a number.
    Word,
    /// A name in quotes of this kind.
    Quoted(char),
    /// A string.
    Text,
    /// Any other character.
    Symbol(char),
}

impl<'a> Token<'a> {
    fn is(&self, keyword: &str) -> bool {
        self.sort == Sort::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    fn is_symbol(&self, symbol: char) -> bool {
        self.sort == Sort::Symbol(symbol)
    }

    /// The name, if it can be one.
    fn name(&self) -> Option<Cow<'a, str>> {
        match self.sort {
            Sort::Word => Some(Cow::Borrowed(self.text)),
            Sort::Quoted(quote) => {
                let inner = self.text.strip_prefix(quote).unwrap_or(self.text);
                let inner = inner.strip_suffix(quote).unwrap_or(inner);
                let doubled = [quote, quote].iter().collect::<String>();
                Some(if inner.contains(&doubled) {
                    Cow::Owned(inner.replace(&doubled, &quote.to_string()))
                } else {
                    Cow::Borrowed(inner)
                })
            }
            Sort::Text | Sort::Symbol(_) => None,
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Splits a text. An open quote or comment lasts until its end.
fn tokens(sql: &str, ansi_quotes: bool) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let start = at;
        let sort = match byte {
            _ if byte.is_ascii_whitespace() || byte.is_ascii_control() => {
                at += 1;
                continue;
            }
            b'#' => {
                at = line_end(bytes, at);
                continue;
            }
            b'-' if rest.get(1) == Some(&b'-') && rest.get(2).is_none_or(|b| *b <= b' ') => {
                at = line_end(bytes, at);
                continue;
            }
            // What stands in such a comment is executed; the number is the oldest version that does so.
            b'/' if rest.starts_with(b"/*!") => {
                at += 3;
                while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                }
                continue;
            }
            b'/' if rest.starts_with(b"/*") => {
                let end = rest[2..].windows(2).position(|w| w == b"*/");
                at = end.map_or(bytes.len(), |end| at + 2 + end + 2);
                continue;
            }
            b'*' if rest.get(1) == Some(&b'/') => {
                at += 2;
                continue;
            }
            b'`' => {
                at = quote_end(bytes, at, false);
                Sort::Quoted('`')
            }
            b'"' if ansi_quotes => {
                at = quote_end(bytes, at, false);
                Sort::Quoted('"')
            }
            b'\'' | b'"' => {
                at = quote_end(bytes, at, true);
                Sort::Text
            }
            _ if is_word(byte) => {
                at += rest.iter().take_while(|b| is_word(**b)).count();
                Sort::Word
            }
            _ => {
                at += 1;
                Sort::Symbol(char::from(byte))
            }
        };
        found.push(Token {
            start,
            end: at,
            sort,
            text: &sql[start..at],
        });
    }
    found
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |n| at + n)
}

/// The end of what is quoted from `at` on; a doubled quote is part of it.
fn quote_end(bytes: &[u8], at: usize, escapes: bool) -> usize {
    let quote = bytes[at];
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'\\' if escapes => end += 2,
            _ if byte == quote && bytes.get(end + 1) == Some(&quote) => end += 2,
            _ if byte == quote => return end + 1,
            _ => end += 1,
        }
    }
    bytes.len()
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    default_database: &'a str,
}

/// Objects that statements create, change or remove, without those that have their own place in [`Reader::definition`].
const SERVER_OBJECTS: &[&str] = &[
    "USER",
    "ROLE",
    "SERVER",
    "TABLESPACE",
    "LOGFILE",
    "RESOURCE",
    "INSTANCE",
    "UNDO",
    "PREPARE",
    "REFERENCE",
];
const OTHER_OBJECTS: &[&str] = &[
    "VIEW",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "LIBRARY",
    "SEQUENCE",
    "PACKAGE",
];

impl Reader<'_> {
    fn statement(mut self) -> Statement {
        let Some(first) = self.tokens.first().filter(|t| t.sort == Sort::Word) else {
            return of(Kind::Other);
        };
        self.at = 1;
        match first.text.to_ascii_uppercase().as_str() {
            verb @ ("CREATE" | "ALTER" | "DROP") => self.definition(verb),
            "TRUNCATE" => {
                self.skip("TABLE");
                let tables = self.name().into_iter().collect();
                changes(Kind::Truncate, tables)
            }
            "RENAME" if self.skip("TABLE") || self.skip("TABLES") => {
                let tables = self.names();
                changes(Kind::Rename, tables)
            }
            "INSERT" | "REPLACE" => {
                let into = self.position(|t| t.is("INTO")).filter(|at| *at < 5);
                self.at = into.map_or(1, |at| at + 1);
                self.skip_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]);
                let tables = self.name().into_iter().collect();
                changes(Kind::Dml, tables)
            }
            "LOAD" => {
                if let Some(at) = self.position(|t| t.is("INTO")) {
                    self.at = at + 1;
                }
                let tables = if self.skip("TABLE") {
                    self.name().into_iter().collect()
                } else {
                    Vec::new()
                };
                changes(Kind::Dml, tables)
            }
            "UPDATE" => self.many_rows(&["SET"]),
            "DELETE" => {
                if let Some(at) = self.position(|t| t.is("FROM")) {
                    self.at = at + 1;
                }
                self.many_rows(&["WHERE", "ORDER", "LIMIT"])
            }
            "WITH" => {
                let Some(at) = self.outside(|t| t.is("UPDATE") || t.is("DELETE")) else {
                    return of(Kind::Server);
                };
                let tokens = &self.tokens[at..];
                Reader { tokens, at: 0, ..self }.statement()
            }
            "CALL" => of(Kind::Dml),
            "START" if !self.peek(|t| t.is("TRANSACTION")) => of(Kind::Server),
            "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "XA" => of(Kind::Transaction),
            "RENAME" | "GRANT" | "REVOKE" | "SET" | "RESET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK"
            | "CHECKSUM" | "INSTALL" | "UNINSTALL" | "CHANGE" | "STOP" | "PURGE" | "BINLOG" | "CACHE" | "KILL"
            | "SHUTDOWN" | "RESTART" | "CLONE" | "USE" | "SELECT" | "SHOW" | "DESC" | "DESCRIBE" | "EXPLAIN"
            | "HANDLER" | "LOCK" | "UNLOCK" | "DO" | "HELP" | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "TABLE"
            | "VALUES" => of(Kind::Server),
            _ => of(Kind::Other),
        }
    }

    /// CREATE, ALTER, DROP: what decides is the first word that names a kind of object.
    fn definition(mut self, verb: &str) -> Statement {
        let objects = ["TABLE", "TABLES", "INDEX", "DATABASE", "SCHEMA"];
        let found = self.position(|t| {
            objects
                .iter()
                .chain(SERVER_OBJECTS)
                .chain(OTHER_OBJECTS)
                .any(|word| t.is(word))
        });
        let Some(at) = found else {
            return of(Kind::Other);
        };
        let temporary = self.tokens[..at].iter().any(|t| t.is("TEMPORARY"));
        self.at = at + 1;
        let object = self.tokens[at].text.to_ascii_uppercase();
        match (verb, object.as_str()) {
            // They are not in anybody's copy, and nobody else sees them.
            (_, "TABLE" | "TABLES") if temporary => of(Kind::Server),
            ("CREATE", "TABLE") => {
                self.skip_if_exists();
                let tables = self.name().into_iter().collect();
                changes(Kind::Create, tables)
            }
            ("ALTER", "TABLE") => {
                self.skip_if_exists();
                let mut tables: Vec<_> = self.name().into_iter().collect();
                tables.extend(self.altered_names());
                changes(Kind::Alter, tables)
            }
            ("DROP", "TABLE" | "TABLES") => {
                self.skip_if_exists();
                let tables = self.names();
                changes(Kind::Drop, tables)
            }
            ("CREATE" | "DROP", "INDEX") => {
                let kind = if verb == "CREATE" {
                    Kind::CreateIndex
                } else {
                    Kind::DropIndex
                };
                let on = self.position(|t| t.is("ON"));
                self.at = on.map_or(self.tokens.len(), |on| on + 1);
                let tables = self.name().into_iter().collect();
                changes(kind, tables)
            }
            ("DROP", "DATABASE" | "SCHEMA") => {
                self.skip_if_exists();
                let database = self.next().and_then(|t| t.name()).map(Cow::into_owned);
                Statement {
                    database,
                    ..of(Kind::Drop)
                }
            }
            (_, object) if SERVER_OBJECTS.contains(&object) => of(Kind::Server),
            _ => of(Kind::Other),
        }
    }

    /// Further tables of an ALTER TABLE: the new name, and the one a partition is exchanged with.
    fn altered_names(&mut self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        while let Some(at) = self.outside(|t| t.is("RENAME") || t.is("EXCHANGE")) {
            self.at = at + 1;
            if self.tokens[at].is("EXCHANGE") {
                if let Some(table) = self.position(|t| t.is("TABLE")) {
                    self.at = table + 1;
                    names.extend(self.name());
                }
            } else if !self.peek(|t| t.is("COLUMN") || t.is("INDEX") || t.is("KEY")) {
                self.skip_any(&["TO", "AS"]);
                self.skip_symbol('=');
                names.extend(self.name());
            }
        }
        names
    }

    /// The tables of an UPDATE or DELETE, those included that are only read: such statements are reported, not carried out.
    fn many_rows(&mut self, until: &[&str]) -> Statement {
        let mut tables = Vec::new();
        let end = self
            .outside(|t| until.iter().any(|word| t.is(word)))
            .unwrap_or(self.tokens.len());
        loop {
            self.skip_any(&["LOW_PRIORITY", "QUICK", "IGNORE", "FROM"]);
            if self.at >= end {
                break;
            }
            if !self.peek(|t| t.is_symbol('(')) {
                tables.extend(self.name());
            }
            match self.position(|t| t.is_symbol(',') || t.is("JOIN") || t.is("STRAIGHT_JOIN")) {
                Some(next) if next < end => self.at = next + 1,
                _ => break,
            }
        }
        changes(Kind::Dml, tables)
    }

    /// Names with `,` or TO between them.
    fn names(&mut self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            if !self.skip_symbol(',') && !self.skip("TO") {
                break;
            }
        }
        names
    }

    /// A table's name at this place.
    fn name(&mut self) -> Option<(String, String)> {
        self.skip_symbol('.');
        let first = self.next()?.name()?.into_owned();
        if !self.skip_symbol('.') {
            return Some((self.default_database.to_owned(), first));
        }
        let second = self.next()?.name()?.into_owned();
        Some((first, second))
    }

    fn next(&mut self) -> Option<Token<'_>> {
        let token = self.tokens.get(self.at).copied()?;
        self.at += 1;
        Some(token)
    }

    fn peek(&self, is: impl Fn(&Token<'_>) -> bool) -> bool {
        self.tokens.get(self.at).is_some_and(is)
    }

    fn skip(&mut self, keyword: &str) -> bool {
        let skipped = self.peek(|t| t.is(keyword));
        self.at += usize::from(skipped);
        skipped
    }

    fn skip_symbol(&mut self, symbol: char) -> bool {
        let skipped = self.peek(|t| t.is_symbol(symbol));
        self.at += usize::from(skipped);
        skipped
    }

    fn skip_any(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.skip(keyword)) {}
    }

    fn skip_if_exists(&mut self) {
        if self.skip("IF") {
            self.skip_any(&["NOT", "EXISTS"]);
        }
    }

    /// Where the next such token is.
    fn position(&self, is: impl Fn(&Token<'_>) -> bool) -> Option<usize> {
        (self.at..self.tokens.len()).find(|at| is(&self.tokens[*at]))
    }

    /// Where the next such token is that stands in no parentheses.
    fn outside(&self, is: impl Fn(&Token<'_>) -> bool) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(self.at) {
            match token.sort {
                Sort::Symbol('(') => depth += 1,
                Sort::Symbol(')') => depth = depth.saturating_sub(1),
                _ if depth == 0 && is(token) => return Some(at),
                _ => {}
            }
        }
        None
    }
}

fn of(kind: Kind) -> Statement {
    changes(kind, Vec::new())
}

fn changes(kind: Kind, tables: Vec<(String, String)>) -> Statement {
    Statement {
        kind,
        tables,
        database: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `kind: database.table, …` of a statement in a session in `d` without ANSI_QUOTES.
    fn said(sql: &str) -> String {
        show(&read(sql, "d", false))
    }

    fn show(statement: &Statement) -> String {
        let mut shown = format!("{:?}", statement.kind);
        for (database, table) in &statement.tables {
            shown += &format!(" {database}.{table}");
        }
        if let Some(database) = &statement.database {
            shown += &format!(" all of {database}");
        }
        shown
    }

    /// What [`said`] of them: one on a line, `␤` for a line's end.
    const STATEMENTS: &str = r#"
        CREATE TABLE x (id INT)  =>  Create d.x
        create table if not exists `a``b`.`c d` (id int primary key)  =>  Create a`b.c d
        CREATE TABLE x LIKE y  =>  Create d.x
        CREATE TABLE e.x (LIKE y)  =>  Create e.x
        CREATE TABLE x AS SELECT * FROM y  =>  Create d.x
        CREATE TABLE `x` (`a` int) START TRANSACTION  =>  Create d.x
        CREATE TEMPORARY TABLE x (a INT)  =>  Server
        CREATE OR REPLACE TABLE x (a INT)  =>  Create d.x
        /* who */ CREATE /*!32302 TABLE */ x -- why␤ (a INT)  =>  Create d.x
        /*!40000 ALTER TABLE `x` DISABLE KEYS */  =>  Alter d.x
        CREATE # a comment␤TABLE x (a INT)  =>  Create d.x
        ALTER TABLE x ADD COLUMN y INT  =>  Alter d.x
        ALTER TABLE e.x RENAME TO f.y  =>  Alter e.x f.y
        ALTER TABLE x ADD a INT, RENAME = y  =>  Alter d.x d.y
        ALTER TABLE x RENAME y  =>  Alter d.x d.y
        ALTER TABLE x RENAME AS y, ADD INDEX (a)  =>  Alter d.x d.y
        ALTER TABLE x RENAME COLUMN a TO b, RENAME INDEX i TO j  =>  Alter d.x
        ALTER TABLE x RENAME KEY i TO j, RENAME TO z  =>  Alter d.x d.z
        ALTER TABLE x COMMENT 'RENAME TO y'  =>  Alter d.x
        ALTER TABLE x ALTER a SET DEFAULT 'it''s; \' RENAME TO y'  =>  Alter d.x
        ALTER TABLE x EXCHANGE PARTITION p WITH TABLE e.y WITHOUT VALIDATION  =>  Alter d.x e.y
        ALTER ONLINE TABLE x ENGINE=InnoDB  =>  Alter d.x
        ALTER DATABASE d CHARACTER SET latin1  =>  Other
        DROP TABLE x  =>  Drop d.x
        DROP TABLE IF EXISTS `x`,`e`.`y` /* generated by server */  =>  Drop d.x e.y
        DROP TABLE x, y CASCADE  =>  Drop d.x d.y
        DROP TEMPORARY TABLE IF EXISTS x  =>  Server
        DROP /*!40005 TEMPORARY */ TABLE x  =>  Server
        DROP DATABASE IF EXISTS `e`  =>  Drop all of e
        DROP SCHEMA e  =>  Drop all of e
        TRUNCATE x  =>  Truncate d.x
        truncate table `e` . `x`  =>  Truncate e.x
        RENAME TABLE a TO b, c TO e.d  =>  Rename d.a d.b d.c e.d
        RENAME TABLES a TO b  =>  Rename d.a d.b
        RENAME USER a TO b  =>  Server
        CREATE INDEX i ON x (a)  =>  CreateIndex d.x
        CREATE UNIQUE INDEX i USING BTREE ON e.x (a, b)  =>  CreateIndex e.x
        CREATE FULLTEXT INDEX i ON x (a)  =>  CreateIndex d.x
        DROP INDEX `PRIMARY` ON x  =>  DropIndex d.x
        CREATE VIEW v AS SELECT 1 FROM x  =>  Other
        CREATE ALGORITHM=MERGE DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW v AS SELECT * FROM t  =>  Other
        CREATE DEFINER=`a`@`b` TRIGGER t BEFORE INSERT ON x FOR EACH ROW DROP TABLE x  =>  Other
        CREATE PROCEDURE p() BEGIN DROP TABLE x; END  =>  Other
        DROP VIEW v  =>  Other
        DROP TRIGGER t  =>  Other
        CREATE DATABASE e  =>  Other
        CREATE USER 'a'@'b' IDENTIFIED WITH 'caching_sha2_password' AS '…'  =>  Server
        CREATE SPATIAL REFERENCE SYSTEM 1 NAME 'x'  =>  Server
        GRANT ALL ON *.* TO a  =>  Server
        ALTER USER a PASSWORD EXPIRE  =>  Server
        ALTER INSTANCE ROTATE INNODB MASTER KEY  =>  Server
        ANALYZE TABLE x  =>  Server
        FLUSH TABLES  =>  Server
        BEGIN  =>  Transaction
        START TRANSACTION  =>  Transaction
        START REPLICA  =>  Server
        COMMIT  =>  Transaction
        ROLLBACK TO `s`  =>  Transaction
        SAVEPOINT s  =>  Transaction
        XA PREPARE X'31',X'',1  =>  Transaction
        INSERT INTO x VALUES (1)  =>  Dml d.x
        INSERT IGNORE e.x SELECT * FROM y  =>  Dml e.x
        INSERT LOW_PRIORITY IGNORE INTO x SET a = 1  =>  Dml d.x
        REPLACE INTO `e`.`x` SELECT 1  =>  Dml e.x
        LOAD DATA INFILE '/tmp/x' REPLACE INTO TABLE x (a)  =>  Dml d.x
        UPDATE LOW_PRIORITY x SET a = 1  =>  Dml d.x
        UPDATE x AS y JOIN e.z USING (id) SET x.a = z.a  =>  Dml d.x e.z
        UPDATE x, y SET x.a = (SELECT 1 FROM z)  =>  Dml d.x d.y
        DELETE FROM x WHERE a = 1, 2  =>  Dml d.x
        DELETE QUICK FROM e.x  =>  Dml e.x
        DELETE a FROM x AS a, y WHERE a.i = y.i  =>  Dml d.x d.y
        WITH c AS (SELECT 1) DELETE FROM x  =>  Dml d.x
        SELECT 1  =>  Server
          =>  Other
        /* only a comment  =>  Other
        FROBNICATE TABLE x  =>  Other
        (SELECT 1)  =>  Other
        DROP  =>  Other
        DROP TABLE  =>  Drop
        ALTER TABLE `x  =>  Alter d.x
        RENAME TABLE a TO  =>  Rename d.a
        CREATE TABLE größe.`表` (a INT)  =>  Create größe.表
        CREATE TABLE 1st (a INT)  =>  Create d.1st
        CREATE TABLE "x" (a INT)  =>  Create
"#;

    #[test]
    fn statements_are_read() {
        for line in STATEMENTS.lines().filter(|line| !line.is_empty()) {
            let (sql, expected) = line.split_once("  =>").unwrap();
            let (sql, expected) = (sql.trim_start().replace('␤', "\n"), expected.trim_start());
            assert_eq!(said(&sql), expected, "{sql}");
        }
    }

    #[test]
    fn double_quotes_are_names_only_under_ansi_quotes() {
        let statement = read(r#"ALTER TABLE "a""b"."c" COMMENT 'x' RENAME TO "e""#, "d", true);
        assert_eq!(show(&statement), r#"Alter a"b.c d.e"#);
    }

    #[test]
    fn each_kind_of_ddl_has_canals_name() {
        let types = [
            ("CREATE TABLE x(a INT)", Some("CREATE")),
            ("ALTER TABLE x ADD b INT", Some("ALTER")),
            ("DROP TABLE x", Some("ERASE")),
            ("TRUNCATE x", Some("TRUNCATE")),
            ("RENAME TABLE x TO y", Some("RENAME")),
            ("CREATE INDEX i ON x (a)", Some("CINDEX")),
            ("DROP INDEX i ON x", Some("DINDEX")),
            ("CREATE VIEW v AS SELECT 1", Some("QUERY")),
            ("INSERT INTO x VALUES (1)", None),
            ("COMMIT", None),
            ("GRANT ALL ON *.* TO a", None),
        ];
        for (sql, expected) in types {
            assert_eq!(read(sql, "d", false).kind.message_type(), expected, "{sql}");
        }
    }

    fn renamed(sql: &str) -> String {
        rename_database(sql, false, |d| (d == "from").then(|| "to`o".to_owned()))
    }

    #[test]
    fn only_qualifiers_change_their_database() {
        for (sql, expected) in [
            ("ALTER TABLE from.x ADD a INT", "ALTER TABLE `to``o`.x ADD a INT"),
            (
                "RENAME TABLE `from` . x TO  from.y,other.z TO `from`.`from`",
                "RENAME TABLE `to``o` . x TO  `to``o`.y,other.z TO `to``o`.`from`",
            ),
            (
                "CREATE TABLE from (from INT, FOREIGN KEY (a) REFERENCES from.p (id)) COMMENT 'from.x'",
                "CREATE TABLE from (from INT, FOREIGN KEY (a) REFERENCES `to``o`.p (id)) COMMENT 'from.x'",
            ),
            (
                "DROP TABLE x.from /* from.y */ -- from.z",
                "DROP TABLE x.from /* from.y */ -- from.z",
            ),
            (
                "ALTER TABLE from.x ADD CHECK (from.x.a > 1.5)",
                "ALTER TABLE `to``o`.x ADD CHECK (`to``o`.x.a > 1.5)",
            ),
            ("SET @from.x = 1", "SET @from.x = 1"),
            (
                "CREATE TABLE y (CHECK (x.from.a > 1))",
                "CREATE TABLE y (CHECK (x.from.a > 1))",
            ),
        ] {
            assert_eq!(renamed(sql), expected);
        }
    }

    #[test]
    fn the_suffix_of_create_select_is_dropped() {
        for (sql, expected) in [
            (
                "CREATE TABLE `x` (\n `a` int\n) START TRANSACTION",
                "CREATE TABLE `x` (\n `a` int\n)",
            ),
            (
                "CREATE TABLE x (a INT) start /* c */ transaction;",
                "CREATE TABLE x (a INT)",
            ),
            (
                "CREATE TABLE x (a INT) COMMENT 'START TRANSACTION'",
                "CREATE TABLE x (a INT) COMMENT 'START TRANSACTION'",
            ),
            ("START TRANSACTION", "START TRANSACTION"),
        ] {
            assert_eq!(without_start_transaction(sql), expected);
        }
    }

    const PIECES: &str = "CREATE ALTER DROP TABLE RENAME TO INDEX ON DATABASE UPDATE DELETE WITH SET INSERT INTO TRUNCATE \
        START TRANSACTION IF EXISTS EXCHANGE from from . , ( ) ` \" ' \\ /* */ /*!40000 -- # \n ; = @";

    /// Texts of pieces that matter to the lexer.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(PIECES.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned),
            "\\PC{0,4}",
        ];
        let pieces = prop::collection::vec(piece, 0..24);
        (pieces, prop::sample::select(vec!["", " "])).prop_map(|(pieces, between)| pieces.join(between))
    }

    proptest! {
            #[test]
            fn no_text_is_too_odd(sql in text(), ansi_quotes: bool) {
                read(&sql, "d", ansi_quotes);
                without_start_transaction(&sql);
                prop_assert_eq!(rename_database(&sql, ansi_quotes, |_| None), sql.clone());
                let there = rename_database(&sql, ansi_quotes, |d| (d == "from").then(|| "elsewhere".to_owned()));
    let again = rename_database(&there, ansi_quotes, |d| (d == "from").then(|| "elsewhere".to_owned()));
                prop_assert_eq!(again, there);
            }
        }
}
