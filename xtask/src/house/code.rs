//! Rust source without its comments and the insides of its literals, so that words can be looked for.

/// The source with comments, strings and characters blanked; lines stay where they are.
pub fn only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at, out.chars().next_back());
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none does.
fn skip(chars: &[char], at: usize, before: Option<char>) -> usize {
    let next = |n: usize| chars.get(at + n).copied();
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match (chars[at], next(1)) {
        ('/', Some('/')) => find(chars, at, |c| c == '\n'),
        ('/', Some('*')) => block_comment(chars, at),
        ('"', _) => quoted(chars, at, '"'),
        ('\'', Some('\\')) => quoted(chars, at, '\''),
        // 'a' is a character, 'a alone a lifetime.
        ('\'', Some(_)) if next(2) == Some('\'') => at + 3,
        ('r', Some('"' | '#')) if !inside_word || before == Some('b') || before == Some('c') => {
            raw(chars, at)
        }
        _ => at,
    }
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(chars[*i])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"..."`, `r#"..."#`; a raw identifier (`r#type`) is no literal.
fn raw(chars: &[char], from: usize) -> usize {
    let open = find(chars, from + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return from;
    }
    let hashes = open - from - 1;
    let closes = |i: &usize| {
        chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes)
}

/// Numbers of the lines (from 1) that hold `word` as a whole word.
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |line: &str| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
    };
    code.lines().enumerate().filter(|(_, line)| whole(line)).map(|(number, _)| number + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::{lines_with, only};

    #[test]
    fn words_in_comments_and_literals_are_not_code() {
        let quiet = [
            "// unsafe\n",
            "/// unsafe\nfn f() {}\n",
            "/* a /* unsafe */ unsafe */ fn f() {}\n",
            "let s = \"unsafe \\\" unsafe\";\n",
            "let s = r#\"unsafe \" unsafe\"#;\n",
            "let s = br\"unsafe\";\n",
            "let unsafe_code = 1; not_unsafe();\n",
        ];
        for source in quiet {
            assert!(lines_with(&only(source), "unsafe").is_empty(), "{source}");
        }
    }

    #[test]
    fn words_in_code_are_found_on_their_line() {
        let loud = [
            ("fn f() {\n    unsafe { g() }\n}\n", 2),
            ("let c = '\"'; unsafe { g() }\n", 1),
            ("let c = '\\''; unsafe { g() }\n", 1),
            ("fn f<'a>(x: &'a u8) { unsafe { g() } }\n", 1),
            ("let s = \"a\nb\";\n#[unsafe(no_mangle)]\n", 3),
            ("let r#type = 1; unsafe {}\n", 1),
            ("/* a */ unsafe impl Send for X {}\n", 1),
        ];
        for (source, line) in loud {
            assert_eq!(lines_with(&only(source), "unsafe"), [line], "{source}");
        }
    }
}
