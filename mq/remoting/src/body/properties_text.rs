//! Java's property text (`key=value` lines): settings of brokers and name servers travel in it.

/// Reads the pairs in order. Lines that are empty or begin with `#` or `!` are skipped, as is a line without a key.
pub fn parse(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with(['#', '!']) {
            return None;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = key.trim_end();
        (!key.is_empty()).then(|| (key, value.trim_start()))
    })
}

/// Writes pairs, one a line. A line break within a value would begin a new pair: such values are cut there.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        out.push_str(key);
        out.push('=');
        out.push_str(value.split(['\n', '\r']).next().unwrap_or(""));
        out.push('\n');
    }
    out
}
