//! `broker.conf`: Java's properties form, as far as people use it – `key=value` or `key:value` lines, `#` and `!` comments,
//! a backslash at the end of a line continues it.

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Line number, from 1.
    pub number: usize,
    /// Key, trimmed.
    pub key: String,
    /// Value, trimmed.
    pub value: String,
}

/// All settings of a file, in its order; a line that is neither blank, comment nor setting is an error.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut rows = text.lines().enumerate();
    while let Some((index, first)) = rows.next() {
        let mut row = first.trim().to_owned();
        if row.is_empty() || row.starts_with('#') || row.starts_with('!') {
            continue;
        }
        while row.ends_with('\\') {
            row.pop();
            match rows.next() {
                Some((_, next)) => row.push_str(next.trim_start()),
                None => break,
            }
        }
        let number = index + 1;
        let (key, value) = row
            .split_once(['=', ':'])
            .ok_or_else(|| format!("line {number}: expected key=value, found '{row}'"))?;
        lines.push(Line {
            number,
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let text = "# comment\n! too\n\nbrokerName = broker-a\r\nnamesrvAddr=a:1;b:2\nmessageDelayLevel=1s \\\n   5s\n";
        let found: Vec<_> = parse(text)
            .unwrap()
            .into_iter()
            .map(|line| (line.number, line.key, line.value))
            .collect();
        let expected = [
            (4, "brokerName", "broker-a"),
            (5, "namesrvAddr", "a:1;b:2"),
            (6, "messageDelayLevel", "1s 5s"),
        ];
        assert_eq!(found, expected.map(|(n, k, v)| (n, k.to_owned(), v.to_owned())));
        assert!(parse("brokerName").unwrap_err().starts_with("line 1"));
    }
}
