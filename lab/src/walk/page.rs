//! Fits text into the width of a page.

/// Columns that every line fits into.
pub const WIDTH: usize = 120;
/// Columns that a line's continuation is moved in by.
const CONTINUED: usize = 6;

/// Folds a line so that each part fits: deep indentation is cut back first, then the gaps of a table, the widest first;
/// only then it is broken, between words where it has any.
pub fn fold(line: &str) -> Vec<String> {
    let line = line.replace('\t', "    ");
    let line = squeeze(line.trim_end());
    let mut parts = Vec::new();
    let mut rest = line;
    while width(&rest) > WIDTH {
        let tail = rest.split_off(break_at(&rest));
        parts.push(rest.trim_end().to_owned());
        rest = format!("{}{}", " ".repeat(CONTINUED), tail.trim_start());
    }
    parts.push(rest);
    parts
}

/// Makes a line as narrow as it must be by giving up blanks, leaving two between the cells of a table.
fn squeeze(line: &str) -> String {
    let mut over = width(line).saturating_sub(WIDTH);
    let text = line.trim_start();
    let indent = width(line) - width(text);
    let kept = indent.saturating_sub(over);
    over -= indent - kept;
    let mut cells: Vec<(usize, &str)> = cells(text);
    while over > 0 {
        let widest = cells.iter_mut().skip(1).max_by_key(|(gap, _)| *gap);
        let Some((gap, _)) = widest.filter(|(gap, _)| *gap > 2) else { break };
        let less = over.min(*gap - 2);
        *gap -= less;
        over -= less;
    }
    let mut narrow = " ".repeat(kept);
    for (gap, cell) in cells {
        narrow.push_str(&" ".repeat(gap));
        narrow.push_str(cell);
    }
    narrow
}

/// The cells of a table's line, each with the blanks before it. Two blanks or more part cells.
fn cells(mut text: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    while !text.is_empty() {
        let cell = text.trim_start_matches(' ');
        let end = cell.find("  ").unwrap_or(cell.len());
        cells.push((text.len() - cell.len(), &cell[..end]));
        text = &cell[end..];
    }
    cells
}

/// Byte offset to break at: after the last gap between words within the width, one outside brackets if there is one, else
/// at the width itself.
fn break_at(line: &str) -> usize {
    let limit = line.char_indices().nth(WIDTH).map_or(line.len(), |(at, _)| at);
    // A gap in the first half would leave most of the page empty.
    let gaps = line[..limit].match_indices(' ').map(|(at, _)| at + 1).filter(|at| *at > limit / 2);
    let (mut last, mut outside) = (None, None);
    for at in gaps {
        last = Some(at);
        let head = &line[..at];
        if head.matches('(').count() == head.matches(')').count() {
            outside = last;
        }
    }
    outside.or(last).unwrap_or(limit)
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
