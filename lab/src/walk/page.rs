//! Fits text into the width of a page.

/// Columns that every line fits into.
pub const WIDTH: usize = 120;
/// Columns that a line's continuation is moved in by.
const CONTINUED: usize = 6;

/// Folds a line so that each part fits: deep indentation is cut back first, then it is broken at the last gap that fits.
pub fn fold(line: &str) -> Vec<String> {
    let line = line.replace('\t', "    ");
    let line = line.trim_end();
    let text = line.trim_start();
    let over = width(line).saturating_sub(WIDTH);
    let indent = width(line) - width(text);
    if over <= indent {
        return vec![line.chars().skip(over).collect()];
    }
    let mut parts = Vec::new();
    let mut rest = line.to_owned();
    while width(&rest) > WIDTH {
        let at = break_at(&rest);
        let tail = rest.split_off(at);
        parts.push(rest.trim_end().to_owned());
        let tail = tail.trim_start();
        // What a table had further right stays on the right, as far as it goes.
        let gap = width(&rest) - width(rest.trim_end());
        let indent = if gap > 1 { WIDTH.saturating_sub(width(tail)) } else { 0 };
        rest = format!("{}{tail}", " ".repeat(indent.max(CONTINUED)));
    }
    parts.push(rest);
    parts
}

/// Byte offset to break at: after the last gap between words within the width, else at the width itself.
fn break_at(line: &str) -> usize {
    let limit = line.char_indices().nth(WIDTH).map_or(line.len(), |(at, _)| at);
    let head = &line[..limit];
    let text = head.len() - head.trim_start().len();
    let gap = head.rfind("  ").map(|at| at + 2).or_else(|| head.rfind(' ').map(|at| at + 1));
    // A gap in the first half would leave most of the page empty.
    gap.filter(|at| *at > text && *at > limit / 2).unwrap_or(limit)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Fills lines with the words of `text`, leaving room for a mark before each.
pub fn fill(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + width(word) + 3 <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
