//! fastjson's dialect → strict JSON.
//!
//! Accepted beyond JSON: keys without quotes (names, numbers) or that are objects or arrays, single quotes, trailing commas,
//! `{"$ref":"…"}` references to other parts of the text. Keys become strings: a number its digits, an object its own strict
//! text. Members that are `null` are left out, which is what fastjson's reader makes of them.

use std::borrow::Cow;

use crate::json;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Most values in one text: a bound on memory, far above any real body.
const VALUES_MAX: usize = 2_000_000;
/// Bytes a result may have beyond four times the text: references could otherwise multiply it.
const OUTPUT_BYTES_SPARE: usize = 64 * 1024;

/// Why a text is not of this dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LenientError {
    /// Not JSON even in the widest sense, from this byte on.
    #[error("malformed JSON at byte {0}")]
    Syntax(usize),
    /// Nested or referring too deep.
    #[error("JSON nested too deep")]
    TooDeep,
    /// More values, or a larger result, than allowed.
    #[error("JSON too large")]
    TooLarge,
    /// A `$ref` that leads nowhere.
    #[error("JSON reference cannot be resolved")]
    Reference,
}

/// Turns a text of fastjson's dialect into strict JSON without blanks.
pub fn to_strict_json(text: &[u8]) -> Result<Vec<u8>, LenientError> {
    let mut reader = Reader { text, at: 0, values: 0 };
    let root = reader.value(0)?;
    if reader.peek().is_some() {
        return Err(LenientError::Syntax(reader.at));
    }
    let mut writer = Writer::new(&root, text.len());
    let mut path = Vec::new();
    writer.value(&root, &mut path)?;
    Ok(writer.out)
}

/// Whether the text may hold a reference.
pub(super) fn may_hold_reference(text: &[u8]) -> bool {
    text.windows(4).any(|window| window == b"$ref")
}

enum Node<'a> {
    Null,
    /// Number or boolean.
    Bare(&'a [u8]),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self) -> Result<T, LenientError> {
        Err(LenientError::Syntax(self.at))
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, LenientError> {
        if depth > DEPTH_MAX {
            return Err(LenientError::TooDeep);
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(LenientError::TooLarge);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => Ok(Node::Text(self.string(quote)?)),
            Some(_) => self.bare(),
            None => self.wrong(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, LenientError> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.closes(b']', items.is_empty())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Node::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, LenientError> {
        self.at += 1;
        let mut members = Vec::new();
        let mut first = true;
        while !self.closes(b'}', first)? {
            first = false;
            let key = self.key(depth)?;
            if self.peek() != Some(b':') {
                return self.wrong();
            }
            self.at += 1;
            match self.value(depth + 1)? {
                Node::Null => {}
                value => members.push((key, value)),
            }
        }
        Ok(Node::Object(members))
    }

    /// At an item's place: takes the comma before it and says whether the bracket closes instead. Commas may be too many.
    fn closes(&mut self, close: u8, first: bool) -> Result<bool, LenientError> {
        let mut comma = first;
        while self.peek() == Some(b',') {
            self.at += 1;
            comma = true;
        }
        match self.peek() {
            Some(b) if b == close => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if comma => Ok(false),
            _ => self.wrong(),
        }
    }

    fn key(&mut self, depth: usize) -> Result<Cow<'a, str>, LenientError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(b'{' | b'[') => {
                let key = self.value(depth + 1)?;
                let mut writer = Writer::new(&key, self.text.len());
                writer.value(&key, &mut Vec::new())?;
                String::from_utf8(writer.out).map(Cow::Owned).or_else(|_| self.wrong())
            }
            _ => {
                let word = self.word();
                match std::str::from_utf8(word) {
                    Ok(word) if !word.is_empty() => Ok(Cow::Borrowed(word)),
                    _ => self.wrong(),
                }
            }
        }
    }

    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'.' | b'+' | b'-') =
            self.text.get(self.at)
        {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn bare(&mut self) -> Result<Node<'a>, LenientError> {
        let start = self.at;
        match self.word() {
            b"null" => Ok(Node::Null),
            word @ (b"true" | b"false") => Ok(Node::Bare(word)),
            word if is_number(word) => Ok(Node::Bare(word)),
            _ => Err(LenientError::Syntax(start)),
        }
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, LenientError> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            match self.text.get(self.at) {
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(&b) if b == quote => break,
                Some(_) => self.at += 1,
                None => return Err(LenientError::Syntax(start)),
            }
        }
        let inside = &self.text[start..self.at];
        self.at += 1;
        json::text(inside, escaped).ok_or(LenientError::Syntax(start))
    }
}

/// JSON's grammar of numbers: what comes through here is read by a strict reader next.
fn is_number(word: &[u8]) -> bool {
    fn digits(word: &[u8]) -> &[u8] {
        let end = word.iter().position(|b| !b.is_ascii_digit()).unwrap_or(word.len());
        &word[end..]
    }
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let mut rest = digits(word);
    let whole = word.len() - rest.len();
    if whole == 0 || (whole > 1 && word[0] == b'0') {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = digits(fraction);
        if rest.len() == fraction.len() {
            return false;
        }
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent
            .strip_prefix(b"+")
            .or_else(|| exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        rest = digits(exponent);
        if rest.len() == exponent.len() {
            return false;
        }
    }
    rest.is_empty()
}

struct Writer<'n, 'a> {
    root: &'n Node<'a>,
    out: Vec<u8>,
    limit: usize,
}

impl<'n, 'a> Writer<'n, 'a> {
    fn new(root: &'n Node<'a>, text_bytes: usize) -> Self {
        Self {
            root,
            out: Vec::new(),
            limit: text_bytes * 4 + OUTPUT_BYTES_SPARE,
        }
    }

    /// Writes a value; `path` holds the values around it, outermost first.
    fn value(&mut self, node: &'n Node<'a>, path: &mut Vec<&'n Node<'a>>) -> Result<(), LenientError> {
        // Twice the depth: each level may be entered once through a reference.
        if path.len() > 2 * DEPTH_MAX {
            return Err(LenientError::TooDeep);
        }
        if self.out.len() > self.limit {
            return Err(LenientError::TooLarge);
        }
        match node {
            Node::Null => self.out.extend_from_slice(b"null"),
            Node::Bare(text) => self.out.extend_from_slice(text),
            Node::Text(text) => json::put_string(&mut self.out, text),
            Node::Array(items) => {
                path.push(node);
                self.out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.value(item, path)?;
                }
                self.out.push(b']');
                path.pop();
            }
            Node::Object(members) => {
                if let [(key, Node::Text(reference))] = &members[..]
                    && key == "$ref"
                {
                    let target = self.resolve(reference, path)?;
                    path.push(node);
                    self.value(target, path)?;
                    path.pop();
                    return Ok(());
                }
                path.push(node);
                self.out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    json::put_string(&mut self.out, key);
                    self.out.push(b':');
                    self.value(value, path)?;
                }
                self.out.push(b'}');
                path.pop();
            }
        }
        Ok(())
    }

    /// `$` the whole, `$.a.b[0]` a part of it, `@` the value around the reference, `..` the one around that.
    fn resolve(&self, reference: &str, path: &[&'n Node<'a>]) -> Result<&'n Node<'a>, LenientError> {
        let around = |n: usize| {
            path.len()
                .checked_sub(n)
                .map(|i| path[i])
                .ok_or(LenientError::Reference)
        };
        match reference {
            "@" => around(1),
            ".." => around(2),
            _ => {
                let rest = reference.strip_prefix('$').ok_or(LenientError::Reference)?;
                step(self.root, rest).ok_or(LenientError::Reference)
            }
        }
    }
}

/// Follows `.name` and `[index]`; a name may hold special characters behind backslashes.
fn step<'n, 'a>(mut node: &'n Node<'a>, mut rest: &str) -> Option<&'n Node<'a>> {
    loop {
        if rest.is_empty() {
            return Some(node);
        }
        let (name, after) = if let Some(name) = rest.strip_prefix('.') {
            path_name(name)
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            (index.trim_matches(['"', '\'']).to_owned(), after)
        };
        rest = after;
        node = match node {
            Node::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            Node::Object(members) => &members.iter().find(|(key, _)| *key == name)?.1,
            _ => return None,
        };
    }
}

fn path_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}
