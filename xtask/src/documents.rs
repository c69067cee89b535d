//! Every path that a document names exists.
//!
//! Looked at: code spans and links of Markdown files outside fenced blocks, and `docs/...` in the comments of sources.

use crate::tree::Tree;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// Answers broken references and how many references were looked at.
pub fn check(tree: &Tree) -> Result<(Vec<String>, usize)> {
    let tops: BTreeSet<&str> = tree
        .files
        .iter()
        .filter_map(|file| file.split_once('/').map(|(top, _)| top))
        .collect();
    let mut breaches = Vec::new();
    let mut named = 0;
    for file in tree.ending(".md") {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for (line, reference) in references(&tree.text(file).unwrap_or_default(), &tops) {
            named += 1;
            let relative = folder.join(&reference);
            if !tree.root.join(&reference).exists() && !tree.root.join(relative).exists() {
                breaches.push(format!("{file}:{line} names {reference}, which does not exist"));
            }
        }
    }
    for file in tree.ending(".rs").filter(|file| !file.starts_with("xtask/")) {
        for (line, text) in tree.text(file).unwrap_or_default().lines().enumerate() {
            for reference in documents_in_comment(text) {
                named += 1;
                if !tree.root.join(reference).exists() {
                    breaches.push(format!("{file}:{} names {reference}, which does not exist", line + 1));
                }
            }
        }
    }
    Ok((breaches, named))
}

/// Paths in the code spans and links of a Markdown text, with their line.
fn references(text: &str, tops: &BTreeSet<&str>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for candidate in spans {
            if let Some(path) = path_of(candidate).filter(|path| in_tree(path, tops)) {
                found.push((number + 1, path));
            }
        }
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            found.extend(path_of(link).map(|path| (number + 1, path)));
        }
    }
    found
}

fn in_tree(path: &str, tops: &BTreeSet<&str>) -> bool {
    path.split_once('/').is_some_and(|(top, _)| tops.contains(top))
}

/// The path without an anchor, a line number or punctuation around it; `None` for patterns.
fn path_of(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| ",;()'\"".contains(c));
    let text = text.split('#').next().unwrap_or(text).trim_end_matches(['.', ':', '/']);
    let path = text
        .split_once(".rs:")
        .map_or(text.to_owned(), |(before, _)| format!("{before}.rs"));
    let pattern = path.chars().any(|c| "*<>{}$|=…".contains(c)) || path.contains("NNN") || path.contains("...");
    (!pattern && !path.is_empty() && !path.starts_with('/')).then_some(path)
}

/// `docs/....md` in a comment.
fn documents_in_comment(line: &str) -> Vec<&str> {
    let Some(at) = line.find("//") else { return Vec::new() };
    line[at..]
        .split(|c: char| !(c.is_ascii_alphanumeric() || "./-_".contains(c)))
        .filter(|word| word.starts_with("docs/") && word.ends_with(".md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths_and_leaves_the_rest() {
        let tops = BTreeSet::from(["mq", "docs"]);
        let text = "See `mq/store/src/entry.rs:12`, `docs/adr/` and [map](ARCHITECTURE.md#way).\n\
                    `a/b` and `mq/*/src`, `http://mq/x`, [web](https://x/y).\n```\n`mq/none.rs`\n```\n`mq/store`.";
        let found: Vec<String> = references(text, &tops).into_iter().map(|(_, path)| path).collect();
        assert_eq!(
            found,
            ["mq/store/src/entry.rs", "docs/adr", "ARCHITECTURE.md", "mq/store"]
        );
    }

    #[test]
    fn finds_documents_in_comments_only() {
        assert_eq!(
            documents_in_comment("let x = 1; // see docs/positions.md, (docs/adr/001-x.md)"),
            ["docs/positions.md", "docs/adr/001-x.md"]
        );
        assert!(documents_in_comment("let path = \"docs/positions.md\";").is_empty());
    }
}
